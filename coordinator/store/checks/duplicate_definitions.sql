-- two rows of checks have one definition_no
SELECT definition_no, count(*) AS rows FROM checks GROUP BY definition_no HAVING count(*) > 1 ORDER BY 1
