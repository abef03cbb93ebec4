-- The verdicts that bear out incidents which may still change: of each window the newest revision,
-- if it speaks of the same thing on the same level at the same time. Rows change windows for a day.
WITH since AS (
    SELECT max(window_to) - INTERVAL 1 DAY AS earliest FROM verdicts
),
newest AS (
    SELECT incident_id, service, component, level, onset_from, end_to, state, body
    FROM incidents
    QUALIFY row_number() OVER (PARTITION BY incident_id ORDER BY revision DESC) = 1
),
changeable AS (
    SELECT
        incident_id, service, component, level, end_to,
        CAST(json_extract_string(body, '$.began') AS TIMESTAMP) AS began
    FROM newest
    WHERE state = 'open' OR (state = 'ended' AND end_to >= (SELECT earliest FROM since))
),
last_word AS (
    SELECT service, component, level, window_from, window_to, onset_from, end_to, body
    FROM verdicts
    WHERE window_to >= (SELECT earliest FROM since)
    QUALIFY row_number() OVER (PARTITION BY verdict_id ORDER BY revision DESC) = 1
)
SELECT c.incident_id, v.body
FROM changeable AS c
INNER JOIN last_word AS v
    ON v.service = c.service
    AND v.component IS NOT DISTINCT FROM c.component
    AND v.level = c.level
    AND coalesce(v.end_to, v.window_to) >= c.began
    AND (c.end_to IS NULL OR coalesce(v.onset_from, v.window_from) <= c.end_to)
ORDER BY c.incident_id, v.window_from, v.window_to
