-- What probes say of themselves.
INSERT INTO heartbeats
SELECT
    make_timestamp(unnest(CAST($received_at_us AS BIGINT[]))),
    make_timestamp(unnest(CAST($sent_at_us AS BIGINT[]))),
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($plan_version AS UBIGINT[])),
    unnest(CAST($uptime_s AS DOUBLE[])),
    unnest(CAST($rss_bytes AS UBIGINT[])),
    unnest(CAST($cpu_s AS DOUBLE[])),
    unnest(CAST($spool_bytes AS UBIGINT[])),
    unnest(CAST($spool_rows AS UBIGINT[])),
    unnest(CAST($evicted_rows AS UBIGINT[])),
    unnest(CAST($queue_depth AS UINTEGER[])),
    unnest(CAST($lateness_ms_p99 AS FLOAT[])),
    unnest(CAST($receive_drops AS UBIGINT[])),
    unnest(CAST($clock_synchronised AS BOOLEAN[])),
    unnest(CAST($overloaded_slots AS UBIGINT[])),
    unnest(CAST($clock_drift_ppm AS FLOAT[])),
    unnest(CAST($translated AS BOOLEAN[]))
