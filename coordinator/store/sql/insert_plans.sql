-- What a probe follows from now on.
INSERT INTO plans
SELECT
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($plan_version AS UBIGINT[])),
    unnest(CAST($config_version AS UINTEGER[])),
    unnest(CAST($check_no AS UINTEGER[])),
    unnest(CAST($interval_us AS UBIGINT[])),
    unnest(CAST($phase_us AS UBIGINT[])),
    make_timestamp(unnest(CAST($from_at_us AS BIGINT[]))),
    CAST(NULL AS TIMESTAMP)
