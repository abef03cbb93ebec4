-- Drop the live cells of other widths from an instant on.
DELETE FROM cells
WHERE scenario IS NULL AND bin_s <> $bin_us // 1000000 AND slot_at >= $since
    AND bin_s IN (SELECT bin_s FROM rollups)
