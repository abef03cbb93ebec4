-- What speaks for or against believing a probe.

CREATE TABLE canary_answers (
    answered_at TIMESTAMP NOT NULL,
    address VARCHAR NOT NULL,
    body_sha256 VARCHAR NOT NULL
);
COMMENT ON TABLE canary_answers IS 'Answers that the coordinator gave at its own canary in the last two days, each with a nonce of its own. Who reports one made contact.';
COMMENT ON COLUMN canary_answers.answered_at IS 'When.';
COMMENT ON COLUMN canary_answers.address IS 'Who asked: a probe, or anybody else.';
COMMENT ON COLUMN canary_answers.body_sha256 IS 'Of the answer, as results.body_sha256 has it.';

CREATE TABLE trust_facts (
    counted_at TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL,
    canary_rows UBIGINT NOT NULL,
    canary_unknown UBIGINT NOT NULL,
    canary_copied UBIGINT NOT NULL,
    anchor_cells UBIGINT NOT NULL,
    anchor_alone UBIGINT NOT NULL,
    anchors_alone UBIGINT NOT NULL,
    timed_rows UBIGINT NOT NULL,
    impossible_rows UBIGINT NOT NULL,
    repeated_rows UBIGINT NOT NULL,
    copied_rows UBIGINT NOT NULL,
    reasons VARCHAR
);
COMMENT ON TABLE trust_facts IS 'What was counted of each probe, once an hour and whenever it gave a reason to doubt it. Counts, no judgement: probes has the decisions.';
COMMENT ON COLUMN trust_facts.counted_at IS 'When it was counted.';
COMMENT ON COLUMN trust_facts.probe_id IS 'Of whom.';
COMMENT ON COLUMN trust_facts.since IS 'Rows that came from here on were counted: some hours, and none from before the last decision.';
COMMENT ON COLUMN trust_facts.canary_rows IS 'Good answers that it reported of our own answerer.';
COMMENT ON COLUMN trust_facts.canary_unknown IS 'Of them, those that we never gave: nobody can report one without contact.';
COMMENT ON COLUMN trust_facts.canary_copied IS 'Of them, those that another probe had reported before, or it itself of another slot: each is given once.';
COMMENT ON COLUMN trust_facts.anchor_cells IS 'Cells of anchors that normally answer it, in bins in which its own line was not down, beside five voices and more.';
COMMENT ON COLUMN trust_facts.anchor_alone IS 'Of them, those in which it says the opposite of nine in ten others.';
COMMENT ON COLUMN trust_facts.anchors_alone IS 'At how many anchors it did.';
COMMENT ON COLUMN trust_facts.timed_rows IS 'Good rows of anchors with times of a millisecond and more.';
COMMENT ON COLUMN trust_facts.impossible_rows IS 'Of them, those whose times cannot be: a round trip of nothing, or a whole that is shorter than its parts.';
COMMENT ON COLUMN trust_facts.repeated_rows IS 'Of them, those with the very times, to the microsecond, of an earlier row of the same check.';
COMMENT ON COLUMN trust_facts.copied_rows IS 'Of them, those with the very times that another probe had reported of the same check before.';
COMMENT ON COLUMN trust_facts.reasons IS 'What no honest probe does, as words: canary, anchors, times, repeats, copies. NULL = nothing.';
