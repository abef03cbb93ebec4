-- Networks from which a fifth or more of the attempts of these kinds at these components failed ("hit"),
-- or, where $count_slow says so, failed or took twice the median of the six hours before; of all that
-- looked. Unlike the judge it does not take off the lag that unrelated targets share.
WITH usual AS (
    SELECT
        vantage,
        component,
        kind,
        family,
        median(rtt_ms) AS rtt_ms
    FROM cells
    WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
        AND service = $service AND list_contains($components, component)
        AND slot_at >= CAST($window_from AS TIMESTAMP) - INTERVAL 6 HOUR AND slot_at < $window_from
        AND (received_at IS NULL OR received_at <= $as_of)
        AND lost < sent
    GROUP BY vantage, component, kind, family
),
network AS (
    SELECT
        c.vantage_asn,
        sum(c.sent) AS sent,
        sum(
            CASE
                WHEN $count_slow AND c.rtt_ms >= 2 * u.rtt_ms THEN c.sent
                ELSE c.lost
            END
        ) AS bad
    FROM cells AS c
    LEFT JOIN usual AS u
        ON c.vantage = u.vantage AND c.component = u.component
        AND c.kind = u.kind AND c.family IS NOT DISTINCT FROM u.family
    WHERE c.scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
        AND c.service = $service AND list_contains($components, c.component)
        AND list_contains($kinds, CAST(c.kind AS VARCHAR))
        AND c.slot_at >= $since AND c.slot_at < $until
        AND (c.received_at IS NULL OR c.received_at <= $as_of)
        AND c.sent > 0
        AND NOT list_contains(CAST($quarantined AS VARCHAR[]), c.vantage)
    GROUP BY c.vantage_asn
)
SELECT count(*) FILTER (WHERE bad >= 0.2 * sent) AS hit, count(*) AS networks
FROM network
