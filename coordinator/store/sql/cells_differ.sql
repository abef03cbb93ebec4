-- Cells of the store against what was counted again from its results, by bin: where they differ.
WITH told AS (
    SELECT
        slot_at, vantage, service, component, kind, family, operation, failure, http_status,
        sum(sent) AS sent, sum(lost) AS lost
    FROM held.cells
    WHERE scenario IS NULL AND bin_s = $bin_s AND list_contains($bins, slot_at)
    GROUP BY ALL
),
again AS (
    SELECT
        slot_at, vantage, service, component, kind, family, operation, failure, http_status,
        sum(sent) AS sent, sum(lost) AS lost
    FROM cells
    GROUP BY ALL
)
SELECT slot_at, vantage, service, component, kind, 'said' AS what, sent, lost
FROM (SELECT * FROM told EXCEPT SELECT * FROM again)
UNION ALL
SELECT slot_at, vantage, service, component, kind, 'counted' AS what, sent, lost
FROM (SELECT * FROM again EXCEPT SELECT * FROM told)
ORDER BY ALL
