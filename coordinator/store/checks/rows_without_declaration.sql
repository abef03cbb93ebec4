-- rows of results name a declaration that is not in probes
SELECT declaration_no, count(*) AS rows FROM result_rows ANTI JOIN probes USING (declaration_no) GROUP BY ALL ORDER BY ALL
