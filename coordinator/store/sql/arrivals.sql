-- What each bin holds, and what its last count rested on, for the bins touched since $since.
-- The numbers of rows are compared, so that a row which was received before the last count but
-- committed after it is found as well.
WITH touched AS (
    SELECT DISTINCT time_bucket(to_microseconds($bin_us), slot_at, TIMESTAMP '1970-01-01') AS bin_at
    FROM result_rows
    WHERE received_at >= $since
),
counted AS (
    SELECT bin_at, max(result_rows) AS result_rows, max(rolled_at) AS rolled_at
    FROM rollups
    WHERE bin_s = $bin_us // 1000000
    GROUP BY bin_at
),
present AS (
    SELECT
        time_bucket(to_microseconds($bin_us), slot_at, TIMESTAMP '1970-01-01') AS bin_at,
        received_at
    FROM result_rows
    WHERE slot_at >= (SELECT min(bin_at) FROM touched)
        AND slot_at < (SELECT max(bin_at) FROM touched) + to_microseconds($bin_us)
)
SELECT
    epoch_us(present.bin_at) AS bin_us,
    count(*) AS result_rows,
    epoch_us(max(present.received_at)) AS newest_us,
    epoch_us(coalesce(
        min(present.received_at) FILTER (
            WHERE counted.rolled_at IS NULL OR present.received_at > counted.rolled_at
        ),
        max(present.received_at)
    )) AS waiting_since_us,
    any_value(counted.result_rows) AS counted_rows
FROM present
SEMI JOIN touched ON touched.bin_at = present.bin_at
LEFT JOIN counted ON counted.bin_at = present.bin_at
GROUP BY present.bin_at
ORDER BY present.bin_at
