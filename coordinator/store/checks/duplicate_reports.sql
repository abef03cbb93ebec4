-- one report (probe, boot, seq) was committed twice
SELECT probe_id, printf('%016x', epoch) AS boot_id, seq, count(*) AS times FROM batches GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
