-- The probes whose last scheduled row of every check of one component since $since_us is good or not.
SELECT probe_id, bool_and(good) AS good
FROM (
    SELECT probe_id, check_no, arg_max(failure IS NULL, slot_at) AS good
    FROM results
    WHERE service = $service
        AND component = $component
        AND slot_at >= make_timestamp($since_us)
        AND trigger = 'schedule'
        AND control IS NULL
        AND state = 'measured'
    GROUP BY probe_id, check_no
)
GROUP BY probe_id
