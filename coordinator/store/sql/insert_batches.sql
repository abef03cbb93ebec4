-- The high-water marks of a commit group, in the transaction that stores its rows.
INSERT INTO batches
SELECT
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($epoch AS UBIGINT[])),
    unnest(CAST($seq AS UBIGINT[])),
    unnest(CAST($row_count AS UINTEGER[])),
    make_timestamp(unnest(CAST($received_at_us AS BIGINT[])))
