-- two accepted configurations have one version
SELECT config_version, count(*) AS rows FROM config_versions WHERE accepted GROUP BY config_version HAVING count(*) > 1 ORDER BY 1
