-- The slots of these bins that came in several reports, each with the row that counts. Repeats are rare,
-- and share their slot's instant: [$low, $high) may be any slice of time, so that no more keys than a slice
-- has lie in memory.
INSERT INTO repeated
SELECT
    probe_id, check_no, slot_at, family,
    arg_min(row_no, (received_at, seq, row_no)) AS first_row
FROM results
WHERE slot_at >= $low AND slot_at < $high
    AND trigger = 'schedule'
    AND control IS NULL
    AND time_bucket(to_microseconds($bin_us), slot_at, TIMESTAMP '1970-01-01')
        IN (SELECT unnest($bins))
GROUP BY ALL
HAVING count(*) > 1
