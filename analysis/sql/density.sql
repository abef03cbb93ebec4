-- How densely history is filled: cells per target, over how many bins. The window is held against it.
-- A check that its vantage point could not send (sent = 0) filled no cell, then as now.
SELECT service, component, count(*) AS cells, min(bin) AS first_bin
FROM (
    SELECT DISTINCT
        service,
        component,
        vantage,
        vantage_asn,
        kind,
        family,
        CAST(floor((epoch(slot_at) - epoch(CAST($since AS TIMESTAMP))) / $bin_s) AS BIGINT) AS bin
    FROM cells
    WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
        AND slot_at >= $density_since AND slot_at < $since
        AND (received_at IS NULL OR received_at <= $as_of)
        AND service = $service
        AND sent > 0
        AND NOT list_contains(CAST($quarantined AS VARCHAR[]), vantage)
) AS filled
GROUP BY service, component
ORDER BY service, component
