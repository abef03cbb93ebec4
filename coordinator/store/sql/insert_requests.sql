-- What probes were asked to run once, and why.
INSERT INTO requests
SELECT
    make_timestamp(unnest(CAST($asked_at_us AS BIGINT[]))),
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($check_no AS UINTEGER[])),
    unnest(CAST($why AS VARCHAR[])),
    unnest(CAST($service AS VARCHAR[])),
    unnest(CAST($component AS VARCHAR[]))
