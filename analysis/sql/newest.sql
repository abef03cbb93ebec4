-- When the last row of a scenario arrived.
SELECT max(received_at)
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
