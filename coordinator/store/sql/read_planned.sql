-- Every check that each probe was ever asked to run.
SELECT probe_id, list(DISTINCT check_no) AS check_nos FROM plans GROUP BY probe_id
