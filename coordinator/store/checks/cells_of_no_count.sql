-- cells of a bin that was never counted
SELECT DISTINCT slot_at, bin_s FROM cells
ANTI JOIN rollups ON rollups.bin_at = cells.slot_at AND rollups.bin_s = cells.bin_s
WHERE cells.scenario IS NULL ORDER BY ALL
