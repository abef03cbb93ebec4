-- two rows of result_facts have one fact_no
SELECT fact_no, count(*) AS rows FROM result_facts GROUP BY fact_no HAVING count(*) > 1 ORDER BY 1
