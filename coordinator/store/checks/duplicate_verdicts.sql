-- one revision of a verdict is there twice
SELECT verdict_id, revision, count(*) AS rows FROM verdicts GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
