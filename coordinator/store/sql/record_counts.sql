-- Record that these bins were counted, up to when, and over how many results.
INSERT INTO rollups BY NAME
SELECT
    unnest($bins) AS bin_at,
    CAST($bin_us // 1000000 AS UINTEGER) AS bin_s,
    unnest($untils) AS rolled_at,
    unnest($counts) AS result_rows
