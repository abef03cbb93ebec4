-- rows of results name a definition that is not in checks
SELECT definition_no, count(*) AS rows FROM result_rows ANTI JOIN checks USING (definition_no) GROUP BY ALL ORDER BY ALL
