-- one revision of an incident is there twice
SELECT incident_id, revision, count(*) AS rows FROM incidents GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
