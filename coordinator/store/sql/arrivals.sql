-- What each bin holds, and what its last count rested on, for the bins touched since $since.
-- The numbers of rows are compared, so that a row which was received before the last count but
-- committed after it is found as well.
-- Rows of one report share their stamp of receipt, so they are added up before anything is joined: a join
-- of single rows puts all of them into its hash table, which at full load was 140 MB every second.
WITH present AS (
    SELECT
        time_bucket(to_microseconds($bin_us), slot_at, TIMESTAMP '1970-01-01') AS bin_at,
        received_at,
        count(*) AS result_rows
    FROM result_rows
    WHERE slot_at >= (
        SELECT time_bucket(to_microseconds($bin_us), min(slot_at), TIMESTAMP '1970-01-01')
        FROM result_rows WHERE received_at >= $since
    )
    GROUP BY ALL
),
counted AS (
    SELECT bin_at, max(result_rows) AS result_rows, max(rolled_at) AS rolled_at
    FROM rollups
    WHERE bin_s = $bin_us // 1000000
    GROUP BY bin_at
)
SELECT
    epoch_us(present.bin_at) AS bin_us,
    CAST(sum(present.result_rows) AS BIGINT) AS result_rows,
    epoch_us(max(present.received_at)) AS newest_us,
    epoch_us(coalesce(
        min(present.received_at) FILTER (
            WHERE counted.rolled_at IS NULL OR present.received_at > counted.rolled_at
        ),
        max(present.received_at)
    )) AS waiting_since_us,
    any_value(counted.result_rows) AS counted_rows
FROM present
LEFT JOIN counted ON counted.bin_at = present.bin_at
GROUP BY present.bin_at
HAVING max(present.received_at) >= $since
ORDER BY present.bin_at
