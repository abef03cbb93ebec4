-- This store was brought back from a backup.
INSERT INTO restores
SELECT
    make_timestamp($restored_at_us),
    make_timestamp($backup_at_us),
    greatest(
        (SELECT coalesce(max(check_no), 0) FROM checks),
        (SELECT coalesce(max(check_no_floor), 0) FROM restores)
    ) + $checks_set_aside,
    greatest(
        (SELECT coalesce(max(plan_version), 0) FROM plans),
        (SELECT coalesce(max(plan_version_floor), 0) FROM restores),
        $plan_version_floor
    ),
    $manifest_sha256
