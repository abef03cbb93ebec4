-- Lost share of the attempts at the rest of the service.
SELECT sum(lost) / sum(sent) AS lost_share, count(DISTINCT component) AS components
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND service = $service AND NOT list_contains($components, component)
    AND (role IS NULL OR CAST(role AS VARCHAR) IN ('subject', 'sibling'))
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
    AND sent > 0
    AND NOT list_contains(CAST($quarantined AS VARCHAR[]), vantage)
