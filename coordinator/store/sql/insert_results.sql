-- One commit group into the slot ledger. `incoming` has one row per result, `arriving` one per
-- report; both are registered for the length of this statement. Nullable columns carry value + 1
-- and 0 for "not known", so that NULLIF and a 1-based list lookup decode them; the order of the
-- words of an enumeration is the order on the wire. What the coordinator knows of the vantage and
-- of the check is stamped on each row here, as of now.
INSERT INTO results
SELECT
    make_timestamp(i.slot_us) AS slot_at,
    CASE WHEN i.started THEN make_timestamp(i.slot_us + i.start_delta_us) END AS started_at,
    make_timestamp(a.received_us) AS received_at,
    a.probe_id,
    a.boot_id,
    a.seq,
    i.check_no,
    c.check_id,
    c.kind,
    c.control,
    c.service,
    c.component,
    c.role,
    p.name AS vantage,
    p.vantage_asn,
    p.vantage_country,
    c.target_asn,
    c.target_prefix,
    CAST(enum_range(CAST(NULL AS state_word))[i.state + 1] AS state_word) AS state,
    CAST(enum_range(CAST(NULL AS reason_word))[i.reason] AS reason_word) AS reason,
    CAST($texts AS VARCHAR[])[i.address] AS address,
    nullif(i.port, 0) - 1 AS port,
    i.family,
    CAST(enum_range(CAST(NULL AS operation_word))[i.operation] AS operation_word) AS operation,
    CAST(enum_range(CAST(NULL AS failure_word))[i.failure] AS failure_word) AS failure,
    i.sent,
    i.lost,
    i.duplicates,
    i.late,
    nullif(i.retransmits, 0) - 1 AS retransmits,
    (nullif(i.rtt_us_min, 0) - 1) / 1000.0 AS rtt_ms_min,
    (nullif(i.rtt_us_median, 0) - 1) / 1000.0 AS rtt_ms_median,
    (nullif(i.rtt_us_max, 0) - 1) / 1000.0 AS rtt_ms_max,
    (nullif(i.resolve_us, 0) - 1) / 1000.0 AS resolve_ms,
    (nullif(i.connect_us, 0) - 1) / 1000.0 AS connect_ms,
    (nullif(i.tls_us, 0) - 1) / 1000.0 AS tls_ms,
    (nullif(i.first_byte_us, 0) - 1) / 1000.0 AS first_byte_ms,
    (nullif(i.total_us, 0) - 1) / 1000.0 AS total_ms,
    CAST(enum_range(CAST(NULL AS stamp_word))[i.stamp_source] AS stamp_word) AS stamp_source,
    nullif(i.http_status, 0) - 1 AS http_status,
    CAST($texts AS VARCHAR[])[i.http_version] AS http_version,
    nullif(i.body_bytes, 0) - 1 AS body_bytes,
    CAST($texts AS VARCHAR[])[i.body_sha256] AS body_sha256,
    CAST($texts AS VARCHAR[])[i.location] AS location,
    CAST($texts AS VARCHAR[])[i.cert_sha256] AS cert_sha256,
    nullif(i.cert_verify, 0) - 1 AS cert_verify,
    CAST($texts AS VARCHAR[])[i.tls_version] AS tls_version,
    nullif(i.dns_rcode, 0) - 1 AS dns_rcode,
    nullif(i.dns_ttl_s, 0) - 1 AS dns_ttl_s,
    CAST($texts AS VARCHAR[])[i.answers] AS answers,
    CAST($texts AS VARCHAR[])[i.router] AS router,
    nullif(i.icmp_type, 0) - 1 AS icmp_type,
    nullif(i.icmp_code, 0) - 1 AS icmp_code,
    CAST($texts AS VARCHAR[])[i.edge] AS edge,
    CASE WHEN i.lateness_us_known THEN i.lateness_us / 1000.0 END AS lateness_ms,
    CASE WHEN i.clock_offset_us_known THEN i.clock_offset_us / 1000.0 END AS clock_offset_ms,
    (nullif(i.clock_error_us, 0) - 1) / 1000.0 AS clock_error_ms,
    CASE
        WHEN i.ahead THEN CAST('clock_suspect' AS validity_word)
        ELSE CAST(enum_range(CAST(NULL AS validity_word))[i.validity + 1] AS validity_word)
    END AS validity,
    CAST(enum_range(CAST(NULL AS trigger_word))[i.trigger + 1] AS trigger_word) AS trigger,
    CAST($texts AS VARCHAR[])[i.page] AS page,
    CAST($texts AS VARCHAR[])[i.dns_flags] AS dns_flags,
    CAST(nullif(i.clock_synchronised, 0) - 1 AS BOOLEAN) AS clock_synchronised
FROM incoming AS i
INNER JOIN arriving AS a ON a.report_no = i.report_no
INNER JOIN current_checks AS c ON c.check_no = i.check_no
INNER JOIN current_probes AS p ON p.probe_id = a.probe_id
