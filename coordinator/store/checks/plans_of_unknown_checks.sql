-- a plan asks for a check that was never defined
SELECT probe_id, check_no, count(*) AS rows FROM plans ANTI JOIN checks USING (check_no) GROUP BY ALL ORDER BY ALL
