-- What each vantage point reported in a window: attempts, targets, and the refusal of its own
-- system (local_*) that it met most.
SELECT
    vantage,
    CAST(sum(sent) AS BIGINT) AS attempts,
    count(DISTINCT (service, component)) AS targets,
    mode(CAST(failure AS VARCHAR)) FILTER (
        WHERE starts_with(CAST(failure AS VARCHAR), 'local_')
    ) AS failure
FROM cells
WHERE scenario IS NULL AND slot_at >= $from AND slot_at < $to AND received_at <= $as_of
GROUP BY vantage
ORDER BY vantage
