-- Of each probe: good rows of anchors with times of a millisecond and more; those whose times cannot be; and
-- those with the very times, to the microsecond, of an earlier row of the check: its own, or another's.
-- Who reported times first is the original: a copy cannot come before what it copies. Rows of the same
-- slot are one row that came twice.
WITH asked AS (
    SELECT
        unnest(CAST($probe_ids AS VARCHAR[])) AS probe_id,
        make_timestamp(unnest(CAST($sinces_us AS BIGINT[]))) AS since
),
timed AS (
    SELECT
        r.probe_id,
        r.check_no,
        r.slot_at,
        r.received_at,
        r.row_no,
        hash(
            r.rtt_ms_min, r.rtt_ms_median, r.rtt_ms_max,
            r.connect_ms, r.tls_ms, r.first_byte_ms, r.total_ms
        ) AS times,
        coalesce(r.rtt_ms_min <= 0, FALSE)
            OR r.total_ms + 0.1 < coalesce(r.resolve_ms, 0) + coalesce(r.connect_ms, 0)
                + coalesce(r.tls_ms, 0) + coalesce(r.first_byte_ms, 0) AS impossible
    FROM results AS r
    INNER JOIN asked AS a ON a.probe_id = r.probe_id AND r.received_at >= a.since
    WHERE r.service = 'anchor'
        AND r.trigger = 'schedule'
        AND r.failure IS NULL
        AND r.total_ms >= 1
        AND r.kind <> 'dns'
        AND r.received_at >= (SELECT min(since) FROM asked)
    QUALIFY row_number() OVER (
        PARTITION BY r.probe_id, r.check_no, r.slot_at ORDER BY r.received_at, r.row_no
    ) = 1
),
compared AS (
    SELECT
        probe_id,
        impossible,
        row_number() OVER alike > 1 AS is_again,
        first_value(probe_id) OVER alike AS first_probe
    FROM timed
    WINDOW alike AS (PARTITION BY check_no, times ORDER BY received_at, row_no)
)
SELECT
    probe_id,
    count(*) AS timed_rows,
    count(*) FILTER (WHERE impossible) AS impossible_rows,
    count(*) FILTER (WHERE is_again AND first_probe = probe_id) AS repeated_rows,
    count(*) FILTER (WHERE first_probe <> probe_id) AS copied_rows
FROM compared
GROUP BY probe_id
