-- Drop the record of counts of other widths from an instant on.
DELETE FROM rollups WHERE bin_s <> $bin_us // 1000000 AND bin_at >= $since
