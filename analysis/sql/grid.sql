-- Width of the bins of these rows in seconds, and the span that has any row.
SELECT
    max(bin_s) AS bin_s,
    min(slot_at) AS first_at,
    max(slot_at) AS last_at,
    count(DISTINCT slot_at) AS slots
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
