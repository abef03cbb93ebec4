-- Ends of the sliding windows since $since whose counts are newer than their last judgement, or
-- that have none. A window ends with each bin that was counted.
WITH counted AS (
    SELECT bin_at, max(rolled_at) AS rolled_at
    FROM rollups
    WHERE bin_s = $bin_s AND bin_at >= $since - to_microseconds($width_us)
    GROUP BY bin_at
),
windows AS (
    SELECT
        bin_at + to_seconds($bin_s) AS window_to,
        max(rolled_at) OVER (
            ORDER BY bin_at
            RANGE BETWEEN to_microseconds($width_us) - to_seconds($bin_s) PRECEDING
                AND CURRENT ROW
        ) AS rolled_at
    FROM counted
),
judged AS (
    SELECT window_to, max(as_of) AS as_of
    FROM verdicts
    WHERE scenario IS NULL
        AND window_from >= $since - to_microseconds($width_us)
        AND window_to = window_from + to_microseconds($width_us)
    GROUP BY window_to
)
SELECT epoch_us(windows.window_to) AS window_us
FROM windows
LEFT JOIN judged ON judged.window_to = windows.window_to
WHERE windows.window_to >= $since
    AND (judged.as_of IS NULL OR windows.rolled_at > judged.as_of)
