-- two rows of probes have one declaration_no
SELECT declaration_no, count(*) AS rows FROM probes GROUP BY declaration_no HAVING count(*) > 1 ORDER BY 1
