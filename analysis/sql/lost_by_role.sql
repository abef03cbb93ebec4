-- Lost share of the attempts at targets of one role, whatever service carries them.
SELECT sum(lost) / sum(sent) AS lost_share, count(DISTINCT component) AS components
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND CAST(role AS VARCHAR) = $role
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
    AND sent > 0
    AND NOT list_contains(CAST($quarantined AS VARCHAR[]), vantage)
