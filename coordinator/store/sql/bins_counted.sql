-- Bins whose last count still rests on the rows that are here; of others the coordinator counts anew.
WITH counted AS (
    SELECT
        bin_at,
        bin_s,
        max(result_rows) AS result_rows,
        max(rolled_at) AS rolled_at
    FROM rollups
    WHERE bin_at > $after AND bin_s = $bin_s
    GROUP BY ALL
    ORDER BY bin_at
    LIMIT $bins
)
SELECT
    c.bin_at,
    c.rolled_at,
    any_value(c.result_rows) AS result_rows,
    count(r.slot_at) = any_value(c.result_rows) AS settled
FROM counted AS c
LEFT JOIN result_rows AS r
    ON r.slot_at >= c.bin_at
    AND r.slot_at < c.bin_at + to_seconds(c.bin_s)
    AND r.received_at <= c.rolled_at
GROUP BY ALL
ORDER BY c.bin_at
