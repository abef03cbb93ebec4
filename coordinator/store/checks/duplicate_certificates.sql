-- one certificate is there twice
SELECT cert_sha256, count(*) AS rows FROM certificates GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
