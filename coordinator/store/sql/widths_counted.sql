-- The widths at which bins were counted.
SELECT DISTINCT bin_s FROM rollups ORDER BY bin_s
