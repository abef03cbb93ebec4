-- Every vantage point as declared, and what it last said of itself.
WITH declared AS (
    SELECT * FROM probes
    QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY recorded_at DESC, rowid DESC) = 1
),
beats AS (
    SELECT
        probe_id,
        max(received_at) AS beat_at,
        arg_max(spool_rows, received_at) AS spool_rows,
        arg_max(spool_bytes, received_at) AS spool_bytes,
        arg_max(evicted_rows, received_at) AS evicted_rows,
        arg_max(plan_version, received_at) AS plan_version,
        arg_max(clock_synchronised, received_at) AS clock_synchronised
    FROM heartbeats
    WHERE received_at >= $since
    GROUP BY probe_id
),
talks AS (
    SELECT
        probe_id,
        max(at_time) AS talk_at,
        arg_max(what, at_time) AS what,
        arg_max(version, at_time) FILTER (WHERE version IS NOT NULL) AS version
    FROM sessions
    GROUP BY probe_id
),
clocks AS (
    SELECT
        probe_id,
        arg_max(offset_ms, at_time) AS offset_ms,
        arg_max(error_ms, at_time) AS error_ms
    FROM clock_offsets
    WHERE at_time >= $since
    GROUP BY probe_id
),
reports AS (
    SELECT probe_id, max(received_at) AS report_at FROM batches GROUP BY probe_id
)
SELECT
    declared.probe_id,
    declared.name,
    declared.vantage_asn,
    declared.vantage_country,
    declared.provider,
    declared.labels,
    declared.state,
    epoch_us(greatest(beats.beat_at, reports.report_at, talks.talk_at)) AS seen_us,
    talks.what AS session,
    talks.version,
    beats.plan_version,
    clocks.offset_ms,
    clocks.error_ms,
    beats.clock_synchronised,
    beats.spool_rows,
    beats.spool_bytes,
    beats.evicted_rows
FROM declared
LEFT JOIN beats ON beats.probe_id = declared.probe_id
LEFT JOIN talks ON talks.probe_id = declared.probe_id
LEFT JOIN clocks ON clocks.probe_id = declared.probe_id
LEFT JOIN reports ON reports.probe_id = declared.probe_id
ORDER BY declared.name, declared.probe_id
