-- Incidents as JSON with their revision: open ones first, then the newest onset.
SELECT incident_id, revision, state, epoch_us(recorded_at) AS recorded_us, body
FROM incidents
WHERE ($incident_id IS NULL OR incident_id = $incident_id)
    AND ($service IS NULL OR service = $service)
    AND ($component IS NULL OR coalesce(component, '') = $component)
QUALIFY NOT $newest_only
    OR row_number() OVER (PARTITION BY incident_id ORDER BY revision DESC) = 1
ORDER BY state = 'open' DESC, onset_from DESC NULLS LAST, incident_id, revision DESC
LIMIT $limit
