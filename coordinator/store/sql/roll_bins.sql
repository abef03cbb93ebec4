-- Count results into cells, one pass per span of arrival: the rows of $bins[i] that were received
-- after $afters[i] (NULL = from the first) up to $untils[i]. A bin may stand there several times;
-- arrivals of different spans never share a cell, so that the cells known at the end of each span
-- stay what they were. All slots lie in [$low, $high), which is said so that the rest is skipped.
--
-- A slot counts once, by the row that was received first: find_repeats.sql, which comes before.
-- The $part-th of $parts of the vantage points: each has cells of its own, so that a bin of millions of
-- rows is counted in parts that fit into memory.
-- Only what was scheduled and does what a user does is evidence: confirmations and controls come
-- more often when things fail, and would weigh.
--
-- Canaries tell of the probe and of no target.
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
WITH spans AS (
    SELECT
        unnest($bins) AS bin_at,
        unnest(CAST($afters AS TIMESTAMP[])) AS after_at,
        unnest($untils) AS until_at
),
fit AS (
    SELECT
        spans.bin_at,
        spans.until_at,
        r.*,
        coalesce(starts_with(CAST(r.failure AS VARCHAR), 'local_'), FALSE) AS is_local,
        CASE r.kind
            WHEN 'http' THEN coalesce(r.first_byte_ms, r.total_ms)
            WHEN 'tls' THEN coalesce(r.tls_ms, r.rtt_ms_median)
            ELSE coalesce(r.rtt_ms_median, r.total_ms)
        END AS answer_ms
    FROM results AS r
    INNER JOIN spans
        ON spans.bin_at = time_bucket(to_microseconds($bin_us), r.slot_at, TIMESTAMP '1970-01-01')
        AND r.received_at > coalesce(spans.after_at, TIMESTAMP '-infinity')
        AND r.received_at <= spans.until_at
    LEFT JOIN repeated
        ON repeated.probe_id = r.probe_id
        AND repeated.check_no = r.check_no
        AND repeated.slot_at = r.slot_at
        AND repeated.family = r.family
    WHERE r.slot_at >= $low AND r.slot_at < $high
        AND hash(r.vantage) % $parts = $part
        AND r.trigger = 'schedule'
        AND r.service <> 'canary'
        AND r.control IS NULL
        AND coalesce(repeated.first_row = r.row_no, TRUE)
        AND r.state = 'measured'
        AND (r.validity = 'ok' OR coalesce(starts_with(CAST(r.failure AS VARCHAR), 'local_'), FALSE))
)
SELECT * EXCLUDE (until_at)
FROM (
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
        max(received_at) AS received_at,
        until_at
    FROM fit
    GROUP BY ALL
)
