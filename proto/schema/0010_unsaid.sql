-- What a probe leaves out is NULL, never 0. Stores of before have a 0 where a probe of another make said nothing.

ALTER TABLE heartbeats ALTER COLUMN plan_version DROP NOT NULL;
ALTER TABLE heartbeats ALTER COLUMN uptime_s DROP NOT NULL;
ALTER TABLE heartbeats ALTER COLUMN cpu_s DROP NOT NULL;
ALTER TABLE heartbeats ALTER COLUMN spool_bytes DROP NOT NULL;
ALTER TABLE heartbeats ALTER COLUMN spool_rows DROP NOT NULL;
ALTER TABLE heartbeats ALTER COLUMN evicted_rows DROP NOT NULL;
ALTER TABLE heartbeats ALTER COLUMN queue_depth DROP NOT NULL;
ALTER TABLE heartbeats ALTER COLUMN overloaded_slots DROP NOT NULL;
COMMENT ON TABLE heartbeats IS 'What probes say of themselves; NULL = it did not say, for it does not know.';
COMMENT ON COLUMN heartbeats.plan_version IS 'The plan that it follows; NULL = none yet.';
COMMENT ON COLUMN heartbeats.lateness_ms_p99 IS 'How late its last 1,000 checks started, 99th percentile; NULL = none has started yet, or it does not say.';
COMMENT ON COLUMN sessions.families IS 'Address families that the probe has at a connect, such as [4, 6]; NULL = it named none.';
COMMENT ON COLUMN sessions.capabilities IS 'What the probe says at a connect that it can: icmp4, icmp4_raw, icmp6, icmp6_raw, rx_stamps, tx_stamps; NULL = it named nothing.';

ALTER TABLE result_facts ALTER COLUMN duplicates DROP NOT NULL;
ALTER TABLE result_facts ALTER COLUMN late DROP NOT NULL;
COMMENT ON COLUMN results.duplicates IS 'Echo replies that came more than once; NULL = nobody counted them, as for all that is no echo.';
COMMENT ON COLUMN results.late IS 'Of the lost ones, those answered within a second after the deadline; NULL = nobody waited for them, as for all that is no echo.';
