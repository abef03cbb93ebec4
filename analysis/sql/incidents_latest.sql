-- The newest revision of every incident.
SELECT body
FROM incidents
QUALIFY row_number() OVER (PARTITION BY incident_id ORDER BY revision DESC) = 1
ORDER BY onset_from NULLS FIRST, incident_id
