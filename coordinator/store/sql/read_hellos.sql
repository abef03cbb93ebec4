-- What each probe last said that it has.
SELECT
    probe_id,
    arg_max(families, at_time) AS families,
    arg_max(capabilities, at_time) AS capabilities
FROM sessions
WHERE what = 'connect'
GROUP BY probe_id
