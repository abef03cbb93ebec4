-- Drop the record of counts of other widths in the spans of $span_us that begin at $spans.
DELETE FROM rollups
WHERE bin_s <> $bin_us // 1000000
    AND time_bucket(to_microseconds($span_us), bin_at, TIMESTAMP '1970-01-01')
        IN (SELECT unnest($spans))
