-- one check_no is the number of two checks
SELECT check_no, list(DISTINCT check_id) AS check_ids FROM checks GROUP BY check_no HAVING count(DISTINCT check_id) > 1 ORDER BY 1
