-- Coordinator minus probe, with its bound.
INSERT INTO clock_offsets
SELECT
    make_timestamp(unnest(CAST($at_us AS BIGINT[]))),
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($offset_ms AS FLOAT[])),
    unnest(CAST($error_ms AS FLOAT[]))
