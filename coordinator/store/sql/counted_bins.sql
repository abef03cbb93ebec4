-- The last count of each bin since $since.
SELECT epoch_us(bin_at) AS bin_us, max(result_rows) AS result_rows, epoch_us(max(rolled_at)) AS rolled_us
FROM rollups
WHERE bin_s = $bin_s AND bin_at >= $since
GROUP BY bin_at
