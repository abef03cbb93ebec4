-- Refused reports and their rows, by reason, over all time.
SELECT
    reason,
    count(*) AS reports,
    CAST(coalesce(sum(row_count), 0) AS BIGINT) AS row_count
FROM rejects
GROUP BY reason
ORDER BY reason
