-- Configurations that were read, in their order; the text of one alone.
SELECT
    config_version AS version,
    epoch_us(loaded_at) AS loaded_at_us,
    sha256,
    loaded_by,
    findings,
    CASE WHEN $version IS NULL THEN '' ELSE source END AS source
FROM config_versions
WHERE $version IS NULL OR (accepted AND config_version = $version)
ORDER BY rowid
