-- For each window judged since $since: over how many results its last judgement was made, by the
-- counts that were on record then.
WITH judged AS (
    SELECT window_from, window_to, max(as_of) AS as_of
    FROM verdicts
    WHERE scenario IS NULL AND window_from >= $since
    GROUP BY window_from, window_to
),
known AS (
    SELECT judged.window_from, judged.window_to, r.bin_at, max(r.result_rows) AS result_rows
    FROM judged
    LEFT JOIN rollups AS r
        ON r.bin_at >= judged.window_from AND r.bin_at < judged.window_to
        AND r.rolled_at <= judged.as_of AND r.bin_s = $bin_s
    GROUP BY ALL
)
SELECT
    epoch_us(window_from) AS from_us,
    epoch_us(window_to) AS to_us,
    CAST(coalesce(sum(result_rows), 0) AS BIGINT) AS result_rows
FROM known
GROUP BY window_from, window_to
