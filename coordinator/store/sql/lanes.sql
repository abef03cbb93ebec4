-- Attempts and losses over time, per component and kind of check, over all vantage points.
SELECT
    service,
    component,
    CAST(role AS VARCHAR) AS role,
    CAST(kind AS VARCHAR) AS kind,
    epoch_us(time_bucket(to_microseconds($step_us), slot_at, TIMESTAMP '1970-01-01')) AS at_us,
    CAST(sum(sent) AS BIGINT) AS sent,
    CAST(sum(lost) AS BIGINT) AS lost,
    count(DISTINCT vantage) AS vantages,
    median(rtt_ms) AS rtt_ms
FROM cells
WHERE scenario IS NULL AND slot_at >= $from AND slot_at < $to
GROUP BY ALL
HAVING sum(sent) > 0
ORDER BY service, component, kind, at_us
