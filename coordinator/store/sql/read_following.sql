-- The plan that each probe was last known to follow.
SELECT probe_id, max(plan_version) AS plan_version
FROM plans
WHERE until_at IS NULL
GROUP BY probe_id
