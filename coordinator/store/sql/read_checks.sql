SELECT
    check_no, check_id, CAST(kind AS VARCHAR) AS kind, CAST(control AS VARCHAR) AS control, service, component,
    CAST(role AS VARCHAR) AS role, host, port, family, interval_s, timeout_s, target_asn,
    target_prefix
FROM current_checks
ORDER BY check_no
