-- Reports that are missing between two that are here, newest first.
SELECT
    g.probe_id,
    (SELECT arg_max(p.name, p.recorded_at) FROM probes AS p WHERE p.probe_id = g.probe_id) AS vantage,
    g.boot_id,
    g.from_seq,
    g.to_seq,
    g.reports,
    epoch_us(g.after_at) AS after_us,
    epoch_us(g.until_at) AS until_us,
    epoch_us(g.restored_at) AS restored_us
FROM gaps AS g
ORDER BY g.until_at DESC, g.probe_id, g.from_seq
LIMIT $limit
