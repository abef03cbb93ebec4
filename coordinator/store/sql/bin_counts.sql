-- How many rows each bin holds up to $as_of, how many of them the last count knew of, how many rows
-- the last count rested on, and up to when each count went, in order. The two numbers in between
-- differ only if a row was committed late. A clock that was set back takes no row out of a count.
WITH bins AS (SELECT unnest($bins) AS bin_at),
counted AS (
    SELECT
        bin_at,
        max(result_rows) AS result_rows,
        max(rolled_at) AS rolled_at,
        list(DISTINCT rolled_at ORDER BY rolled_at) AS steps
    FROM rollups
    WHERE bin_s * 1000000 = $bin_us
    GROUP BY bin_at
)
SELECT
    bins.bin_at,
    count(r.slot_at) AS result_rows,
    count(r.slot_at) FILTER (WHERE r.received_at <= counted.rolled_at) AS known_rows,
    any_value(counted.result_rows) AS counted_rows,
    coalesce(any_value(counted.steps), []) AS steps
FROM bins
LEFT JOIN counted ON counted.bin_at = bins.bin_at
LEFT JOIN result_rows AS r
    ON r.slot_at >= bins.bin_at
    AND r.slot_at < bins.bin_at + to_microseconds($bin_us)
    AND r.received_at <= greatest($as_of, counted.rolled_at)
GROUP BY bins.bin_at
ORDER BY bins.bin_at
