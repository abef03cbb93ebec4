-- Every vantage point as declared, and what it last said of itself.
WITH declared AS (
    SELECT * FROM probes
    QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY recorded_at DESC, rowid DESC) = 1
),
newest AS (
    SELECT probe_id, max(received_at) AS received_at
    FROM heartbeats
    WHERE received_at >= $since
    GROUP BY probe_id
),
beats AS (  -- the newest whole, so that no figure of an earlier one shows as current
    SELECT heartbeats.*
    FROM heartbeats
    JOIN newest USING (probe_id, received_at)
    QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY heartbeats.rowid DESC) = 1
),
talks AS (
    SELECT
        probe_id,
        max(at_time) AS talk_at,
        arg_max(what, at_time) AS what,
        arg_max(version, at_time) FILTER (WHERE version IS NOT NULL) AS version,
        arg_max(families, at_time) FILTER (WHERE what = 'connect') AS families,
        arg_max(capabilities, at_time) FILTER (WHERE what = 'connect') AS capabilities
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
    declared.declared_asn,
    declared.declared_country,
    declared.seen_asn,
    declared.seen_country,
    declared.asn_source,
    declared.country_source,
    epoch_us(greatest(beats.received_at, reports.report_at, talks.talk_at)) AS seen_us,
    talks.what AS session,
    talks.version,
    talks.families,
    talks.capabilities,
    beats.plan_version,
    clocks.offset_ms,
    clocks.error_ms,
    beats.clock_synchronised,
    beats.clock_drift_ppm,
    beats.spool_rows,
    beats.spool_bytes,
    beats.evicted_rows,
    beats.overloaded_slots,
    beats.lateness_ms_p99,
    beats.queue_depth,
    beats.receive_drops,
    beats.uptime_s,
    beats.cpu_s,
    beats.rss_bytes
FROM declared
LEFT JOIN beats ON beats.probe_id = declared.probe_id
LEFT JOIN talks ON talks.probe_id = declared.probe_id
LEFT JOIN clocks ON clocks.probe_id = declared.probe_id
LEFT JOIN reports ON reports.probe_id = declared.probe_id
ORDER BY declared.name, declared.probe_id
