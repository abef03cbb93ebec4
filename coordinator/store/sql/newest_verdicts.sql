-- The last word on every service and component: the newest revision of the newest window, among the
-- windows since $since.
SELECT verdict_id, revision, stage, epoch_us(as_of) AS as_of_us, body
FROM verdicts
WHERE scenario IS NULL AND window_from >= $since
QUALIFY row_number() OVER (
    PARTITION BY service, component ORDER BY window_to DESC, revision DESC
) = 1
ORDER BY service, component NULLS FIRST
