-- Who was measured, and where it stood when it was last seen: one row per target.
SELECT
    service,
    component,
    max_by(CAST(role AS VARCHAR), slot_at) AS role,
    max_by(address, slot_at) AS address,
    max_by(target_asn, slot_at) AS target_asn,
    max_by(target_prefix, slot_at) AS target_prefix
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
GROUP BY service, component
ORDER BY service, component
