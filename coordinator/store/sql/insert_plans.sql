-- What probes follow from now on.
INSERT INTO plans
SELECT
    probe_id, plan_version, config_version, check_no, interval_us, phase_us,
    make_timestamp(at_us), CAST(NULL AS TIMESTAMP)
FROM planned
