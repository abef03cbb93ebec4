-- a report has another number of rows than its entry in batches says, or rows are of no report
WITH held AS (
    SELECT p.probe_id, r.epoch, r.seq, count(*) AS found
    FROM result_rows AS r
    INNER JOIN (SELECT DISTINCT declaration_no, probe_id FROM probes) AS p USING (declaration_no)
    GROUP BY ALL
),
said AS (SELECT probe_id, epoch, seq, max(row_count) AS row_count FROM batches GROUP BY ALL)
SELECT
    probe_id,
    printf('%016x', epoch) AS boot_id,
    seq,
    coalesce(said.row_count, 0) AS said,
    coalesce(held.found, 0) AS found
FROM said FULL JOIN held USING (probe_id, epoch, seq)
WHERE coalesce(said.row_count, 0) <> coalesce(held.found, 0)
ORDER BY ALL
