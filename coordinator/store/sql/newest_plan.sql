-- The newest number that a plan ever had, or that a restore set aside; 0 = there was none.
SELECT greatest(
    (SELECT coalesce(max(plan_version), 0) FROM plans),
    (SELECT coalesce(max(plan_version_floor), 0) FROM restores)
)
