-- Drop the live cells of other widths in the spans of $span_us that begin at $spans.
DELETE FROM cells
WHERE scenario IS NULL AND bin_s <> $bin_us // 1000000
    AND bin_s IN (SELECT bin_s FROM rollups)
    AND time_bucket(to_microseconds($span_us), slot_at, TIMESTAMP '1970-01-01')
        IN (SELECT unnest($spans))
