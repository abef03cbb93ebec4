-- Why a probe is in its state.

ALTER TABLE probes ADD COLUMN state_reason VARCHAR;
ALTER TABLE probes ADD COLUMN state_by VARCHAR;
ALTER TABLE probes ADD COLUMN state_at TIMESTAMP;
COMMENT ON COLUMN probes.state IS 'enrolled, quarantined or revoked. What is quarantined weighs nothing in verdicts from then on; its rows stay, and go on coming.';
COMMENT ON COLUMN probes.state_reason IS 'Why somebody put it in its state; NULL = nobody did since it enrolled.';
COMMENT ON COLUMN probes.state_by IS 'Who did: a user of the coordinator''s machine, or coordinator.';
COMMENT ON COLUMN probes.state_at IS 'When.';
