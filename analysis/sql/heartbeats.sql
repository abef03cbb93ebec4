-- Which vantage points that used to send heartbeats sent any from inside the window, as far as known.
-- A heartbeat that arrived late still proves that the machine ran. A window shorter than the slack
-- says nothing of silence, so one heartbeat before its start is enough.
SELECT
    p.name,
    count(*) FILTER (WHERE h.sent_at >= CAST($since AS TIMESTAMP) - to_seconds($heartbeat_slack_s)) > 0
FROM heartbeats AS h
INNER JOIN probes AS p ON p.probe_id = h.probe_id
WHERE h.sent_at < $until AND h.received_at <= $as_of
GROUP BY p.name
ORDER BY p.name
