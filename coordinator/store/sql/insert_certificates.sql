-- Leaf certificates, once per fingerprint.
INSERT INTO certificates
SELECT
    unnest(CAST($cert_sha256 AS VARCHAR[])),
    make_timestamp(unnest(CAST($seen_at_us AS BIGINT[]))),
    unnest(CAST($probe_id AS VARCHAR[])),
    unnest(CAST($subject AS VARCHAR[])),
    unnest(CAST($issuer AS VARCHAR[])),
    unnest(CAST($names AS VARCHAR[])),
    make_timestamp(unnest(CAST($not_before_us AS BIGINT[]))),
    make_timestamp(unnest(CAST($not_after_us AS BIGINT[]))),
    unnest(CAST($der AS BLOB[]))
