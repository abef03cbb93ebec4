-- Networks from which most attempts at these components failed, of all that looked.
SELECT count(*) FILTER (WHERE lost > 0.5 * sent) AS failing, count(*) AS networks
FROM (
    SELECT vantage_asn, sum(lost) AS lost, sum(sent) AS sent
    FROM cells
    WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
        AND service = $service AND list_contains($components, component)
        AND CAST(kind AS VARCHAR) IN ('http', 'tcp', 'tls')
        AND slot_at >= $since AND slot_at < $until
        AND (received_at IS NULL OR received_at <= $as_of)
    GROUP BY vantage_asn
) AS network
