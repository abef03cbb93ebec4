-- Why there are rows that no schedule asked for.

CREATE TABLE requests (
    asked_at TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    check_no UINTEGER NOT NULL,
    why VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    component VARCHAR NOT NULL
);
COMMENT ON TABLE requests IS 'What probes were asked to run once, and why: rows of results with trigger request have its probe_id and check_no. Such rows are in no cell and weigh in no verdict.';
COMMENT ON COLUMN requests.asked_at IS 'When it was asked for, by the coordinator''s clock.';
COMMENT ON COLUMN requests.probe_id IS 'Who was asked.';
COMMENT ON COLUMN requests.check_no IS 'What: a check of the plan, or one of the service once.';
COMMENT ON COLUMN requests.why IS 'operator: a person asked; comparison: it failed from elsewhere; thin: too few voices spoke of the component; between: what they said fits several classes.';
COMMENT ON COLUMN requests.service IS 'Of what it was to tell; once where a person named a URL.';
COMMENT ON COLUMN requests.component IS 'Likewise.';
