-- Reports that will never be stored, and why.
INSERT INTO rejects
SELECT
    make_timestamp(unnest(CAST($received_at_us AS BIGINT[]))),
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($epoch AS UBIGINT[])),
    unnest(CAST($seq AS UBIGINT[])),
    unnest(CAST($row_count AS UINTEGER[])),
    unnest(CAST($reason AS VARCHAR[]))
