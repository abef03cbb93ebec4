-- The packets of the traces of one commit group. `hopping` has one row per packet, with the number
-- of its report in `arriving` and what it shares with its row of results; coded as in insert_results.
INSERT INTO hops
SELECT
    make_timestamp(h.slot_us) AS slot_at,
    make_timestamp(a.received_us) AS received_at,
    a.probe_id,
    h.check_no,
    CAST(enum_range(CAST(NULL AS trigger_word))[h.trigger + 1] AS trigger_word) AS trigger,
    c.service,
    c.component,
    p.name AS vantage,
    p.vantage_asn,
    p.vantage_country,
    CAST($texts AS VARCHAR[])[h.address] AS address,
    h.ttl,
    h.packet,
    CAST($texts AS VARCHAR[])[h.router] AS router,
    (nullif(h.rtt_us, 0) - 1) / 1000.0 AS rtt_ms,
    nullif(h.icmp_type, 0) - 1 AS icmp_type,
    nullif(h.icmp_code, 0) - 1 AS icmp_code
FROM hopping AS h
INNER JOIN arriving AS a ON a.report_no = h.report_no
INNER JOIN current_checks AS c ON c.check_no = h.check_no
INNER JOIN current_probes AS p ON p.probe_id = a.probe_id
