-- Record that these bins were counted, and over how many results.
INSERT INTO rollups BY NAME
SELECT
    unnest($bins) AS bin_at,
    CAST($bin_us // 1000000 AS UINTEGER) AS bin_s,
    $as_of AS rolled_at,
    unnest($counts) AS result_rows
