-- The configuration that was last accepted.
SELECT config_version, sha256
FROM config_versions
WHERE accepted
ORDER BY config_version DESC
LIMIT 1
