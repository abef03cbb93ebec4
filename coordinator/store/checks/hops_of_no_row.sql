-- packets of traces belong to no row of results
SELECT h.probe_id, h.check_no, h.slot_at, count(*) AS packets
FROM hops AS h
ANTI JOIN (
    SELECT p.probe_id, c.check_no, r.slot_at
    FROM result_rows AS r
    INNER JOIN probes AS p USING (declaration_no)
    INNER JOIN checks AS c USING (definition_no)
) AS r ON r.probe_id = h.probe_id AND r.check_no = h.check_no AND r.slot_at = h.slot_at
GROUP BY ALL ORDER BY ALL
