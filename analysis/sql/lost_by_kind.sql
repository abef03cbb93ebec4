-- Lost share of the attempts at these components, by kind of check.
SELECT CAST(kind AS VARCHAR) AS kind, sum(lost) / sum(sent) AS lost_share
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND service = $service AND list_contains($components, component)
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
    AND sent > 0
    AND NOT list_contains(CAST($quarantined AS VARCHAR[]), vantage)
GROUP BY kind
ORDER BY kind
