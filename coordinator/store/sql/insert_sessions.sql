-- Connects, disconnects and refusals of probes.
INSERT INTO sessions
SELECT
    make_timestamp(unnest(CAST($at_us AS BIGINT[]))),
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($what AS VARCHAR[])),
    unnest(CAST($boot_id AS VARCHAR[])),
    unnest(CAST($version AS VARCHAR[])),
    unnest(CAST($detail AS VARCHAR[])),
    unnest(CAST($backlog_rows AS UBIGINT[])),
    unnest(CAST($evicted_rows AS UBIGINT[])),
    string_split(unnest(CAST($families AS VARCHAR[])), ','),
    string_split(unnest(CAST($capabilities AS VARCHAR[])), ','),
    unnest(CAST($address AS VARCHAR[])),
    unnest(CAST($limits AS STRUCT(
        checks_per_s DOUBLE,
        per_target_per_minute DOUBLE,
        concurrent UINTEGER,
        concurrent_https UINTEGER,
        outstanding_icmp UINTEGER
    )[]))
