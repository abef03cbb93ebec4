-- Widths of bins, in seconds, that were counted under an earlier configuration.
SELECT DISTINCT bin_s FROM rollups WHERE bin_s <> $bin_us // 1000000
