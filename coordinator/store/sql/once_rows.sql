-- What came of one measurement on request, since shortly before it was asked for.
SELECT *
FROM results
WHERE service = 'once'
    AND component = $component
    AND received_at >= make_timestamp($since_us)
ORDER BY received_at, seq
