-- What was counted of probes that speaks for or against believing them.
INSERT INTO trust_facts
SELECT
    make_timestamp(unnest(CAST($counted_at_us AS BIGINT[]))),
    unnest(CAST($probe_id AS VARCHAR[])),
    make_timestamp(unnest(CAST($since_us AS BIGINT[]))),
    unnest(CAST($canary_rows AS UBIGINT[])),
    unnest(CAST($canary_unknown AS UBIGINT[])),
    unnest(CAST($canary_copied AS UBIGINT[])),
    unnest(CAST($anchor_cells AS UBIGINT[])),
    unnest(CAST($anchor_alone AS UBIGINT[])),
    unnest(CAST($anchors_alone AS UBIGINT[])),
    unnest(CAST($timed_rows AS UBIGINT[])),
    unnest(CAST($impossible_rows AS UBIGINT[])),
    unnest(CAST($repeated_rows AS UBIGINT[])),
    unnest(CAST($copied_rows AS UBIGINT[])),
    unnest(CAST($reasons AS VARCHAR[]))
