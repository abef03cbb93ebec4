-- Count results into cells for each bin, from the rows received after the bin's own $afters entry
-- (NULL = from the first) up to $as_of.
--
-- What counts: a measured row that is fit for use (validity ok). What the vantage itself could not
-- do (local_*) says nothing about a target: it becomes a row with sent = 0 and lost = 0, so that it
-- is seen as a trouble of the vantage and weighs nothing against anybody. Slots that were not run
-- are no rows here; the views coverage and ledger count them.
-- The address of a dns row is the resolver that was asked: it places nothing of the target, and is
-- left out.
-- A slot that failed before its first attempt (a name that did not resolve) counts as one attempt.
-- Groups by failure keep unlike failures of one cell apart; rows of one cell add up.
INSERT INTO cells BY NAME
WITH bins AS (SELECT unnest($bins) AS bin_at, unnest($afters) AS after_at),
fit AS (
    SELECT
        bins.bin_at,
        r.*,
        coalesce(starts_with(CAST(r.failure AS VARCHAR), 'local_'), FALSE) AS is_local,
        CASE r.kind
            WHEN 'http' THEN coalesce(r.first_byte_ms, r.total_ms)
            WHEN 'tls' THEN coalesce(r.tls_ms, r.rtt_ms_median)
            ELSE coalesce(r.rtt_ms_median, r.total_ms)
        END AS answer_ms
    FROM results AS r
    INNER JOIN bins
        ON r.slot_at >= bins.bin_at
        AND r.slot_at < bins.bin_at + to_microseconds($bin_us)
        AND r.received_at > coalesce(bins.after_at, TIMESTAMP '-infinity')
    WHERE r.received_at <= $as_of
        AND r.state = 'measured'
        AND (r.validity = 'ok' OR coalesce(starts_with(CAST(r.failure AS VARCHAR), 'local_'), FALSE))
)
SELECT
    CAST(NULL AS VARCHAR) AS scenario,
    bin_at AS slot_at,
    CAST($bin_us // 1000000 AS UINTEGER) AS bin_s,
    vantage, vantage_asn, vantage_country, service, component, role, kind, family,
    CASE WHEN kind = 'dns' THEN NULL ELSE address END AS address,
    target_asn, target_prefix,
    CAST(sum(CASE WHEN is_local THEN 0 WHEN failure IS NULL THEN sent ELSE greatest(sent, 1) END) AS UINTEGER) AS sent,
    CAST(sum(CASE WHEN is_local THEN 0 WHEN failure IS NULL THEN lost ELSE greatest(lost, 1) END) AS UINTEGER) AS lost,
    operation, failure, http_status,
    median(answer_ms) FILTER (WHERE failure IS NULL AND lost < sent) AS rtt_ms,
    max(received_at) AS received_at
FROM fit
GROUP BY ALL
