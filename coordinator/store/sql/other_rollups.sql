-- Counts of other widths in the spans of $span_us that begin at $spans.
SELECT epoch_us(bin_at) AS bin_us, CAST(bin_s AS BIGINT) * 1000000 AS width_us, rolled_at
FROM rollups
WHERE bin_s <> $bin_us // 1000000
    AND time_bucket(to_microseconds($span_us), bin_at, TIMESTAMP '1970-01-01')
        IN (SELECT unnest($spans))
