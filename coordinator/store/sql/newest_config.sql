-- The configuration that was last accepted, with its text.
SELECT config_version, source
FROM config_versions
WHERE accepted
ORDER BY config_version DESC
LIMIT 1
