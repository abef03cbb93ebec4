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
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
    AND NOT list_contains(CAST($quarantined AS VARCHAR[]), vantage)
GROUP BY vantage
ORDER BY vantage
