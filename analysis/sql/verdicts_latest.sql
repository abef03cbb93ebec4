-- The newest revision of every verdict.
SELECT body
FROM verdicts
QUALIFY row_number() OVER (PARTITION BY verdict_id ORDER BY revision DESC) = 1
ORDER BY window_from, window_to, verdict_id
