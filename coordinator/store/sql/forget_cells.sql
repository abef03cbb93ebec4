-- Throw away the live cells of bins that are about to be counted anew.
DELETE FROM cells
WHERE scenario IS NULL
    AND bin_s = $bin_us // 1000000
    AND slot_at IN (SELECT unnest($bins))
