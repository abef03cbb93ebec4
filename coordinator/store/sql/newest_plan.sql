-- The newest number that a plan ever had; 0 = there was none.
SELECT coalesce(max(plan_version), 0) FROM plans
