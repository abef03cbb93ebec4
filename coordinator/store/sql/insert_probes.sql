-- One row per change of what is known of a vantage point.
INSERT INTO probes
SELECT
    (SELECT coalesce(max(declaration_no), 0) FROM probes) + row_number() OVER () AS declaration_no,
    *
FROM (
    SELECT
        unnest(CAST($probe_id AS VARCHAR[])),
        unnest(CAST($name AS VARCHAR[])),
        unnest(CAST($vantage_asn AS UINTEGER[])),
        unnest(CAST($vantage_country AS VARCHAR[])),
        unnest(CAST($provider AS VARCHAR[])),
        unnest(CAST($labels AS VARCHAR[])),
        unnest(CAST($state AS VARCHAR[])),
        make_timestamp(unnest(CAST($recorded_at_us AS BIGINT[]))),
        unnest(CAST($declared_asn AS UINTEGER[])),
        unnest(CAST($declared_country AS VARCHAR[])),
        unnest(CAST($seen_asn AS UINTEGER[])),
        unnest(CAST($seen_country AS VARCHAR[])),
        unnest(CAST($asn_source AS VARCHAR[])),
        unnest(CAST($country_source AS VARCHAR[])),
        unnest(CAST($state_reason AS VARCHAR[])),
        unnest(CAST($state_by AS VARCHAR[])),
        make_timestamp(unnest(CAST($state_at_us AS BIGINT[])))
)
