-- rows of results name facts that are not in result_facts
SELECT fact_no, count(*) AS rows FROM result_rows ANTI JOIN result_facts USING (fact_no) GROUP BY ALL ORDER BY ALL
