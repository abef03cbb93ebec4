-- One commit group into the slot ledger. `incoming` has one row per result, decoded but for its
-- texts, which are 1-based places in $texts (0 = not known: a list has no place 0).
INSERT INTO result_rows
SELECT
    slot_at, started_at, received_at, declaration_no, epoch, seq, definition_no, fact_no,
    rtt_ms_min, rtt_ms_median, rtt_ms_max, resolve_ms, connect_ms, tls_ms, first_byte_ms, total_ms,
    body_bytes,
    CAST($texts AS VARCHAR[])[body_sha256] AS body_sha256,
    CAST($texts AS VARCHAR[])[location] AS location,
    dns_ttl_s,
    CAST($texts AS VARCHAR[])[answers] AS answers,
    lateness_ms, clock_offset_ms, clock_error_ms
FROM incoming
