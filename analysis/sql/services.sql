-- What can be judged: every service that has a component of its own, per scenario, and its span.
SELECT scenario, service, min(slot_at) AS first_at, max(slot_at) AS last_at, max(bin_s) AS bin_s
FROM cells
WHERE role IS NULL OR CAST(role AS VARCHAR) IN ('subject', 'sibling')
GROUP BY scenario, service
ORDER BY scenario NULLS FIRST, service
