-- The plan that each probe was last known to follow, with its content.
SELECT probe_id, plan_version, config_version, list(check_no) AS check_nos
FROM plans
WHERE until_at IS NULL
GROUP BY ALL
ORDER BY plan_version
