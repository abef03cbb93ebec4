-- Definitions of checks that a configuration version brought or changed.
INSERT INTO checks
SELECT
    (SELECT coalesce(max(definition_no), 0) FROM checks) + row_number() OVER () AS definition_no,
    *
FROM (
    SELECT
        unnest(CAST($check_no AS UINTEGER[])),
        unnest(CAST($check_id AS VARCHAR[])),
        CAST(unnest(CAST($kind AS VARCHAR[])) AS kind_word),
        CAST(unnest(CAST($control AS VARCHAR[])) AS control_word),
        unnest(CAST($service AS VARCHAR[])),
        unnest(CAST($component AS VARCHAR[])),
        CAST(unnest(CAST($role AS VARCHAR[])) AS role_word),
        unnest(CAST($host AS VARCHAR[])),
        unnest(CAST($port AS USMALLINT[])),
        unnest(CAST($family AS UTINYINT[])),
        unnest(CAST($interval_s AS DOUBLE[])),
        unnest(CAST($timeout_s AS DOUBLE[])),
        unnest(CAST($target_asn AS UINTEGER[])),
        unnest(CAST($target_prefix AS VARCHAR[])),
        unnest(CAST($config_version AS UINTEGER[]))
)
