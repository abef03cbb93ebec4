-- The newest combinations of what rows say alike.
SELECT * FROM result_facts ORDER BY fact_no DESC LIMIT $limit
