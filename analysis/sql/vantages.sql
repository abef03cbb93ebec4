-- Vantage points as they were when they measured: one that moved to another network is listed twice.
SELECT DISTINCT vantage, vantage_asn, vantage_country
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
ORDER BY vantage, vantage_asn NULLS FIRST, vantage_country NULLS FIRST
