-- Every vantage point as declared, and what it last said of itself.
WITH declared AS (
    SELECT * FROM probes
    QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY recorded_at DESC, rowid DESC) = 1
),
talks AS (  -- an aggregate over structs takes a row whole: a NULL of the newest one stays NULL
    SELECT
        probe_id,
        max(at_time) AS talk_at,
        arg_max(what, at_time) AS what,
        arg_max(
            {
                at_time: at_time,
                version: version,
                families: families,
                capabilities: capabilities,
                backlog_rows: backlog_rows,
                evicted_rows: evicted_rows,
                limits: limits
            },
            at_time
        ) FILTER (WHERE what = 'connect') AS hello
    FROM sessions
    GROUP BY probe_id
),
last_beats AS (
    SELECT probe_id, max(received_at) AS received_at
    FROM heartbeats
    WHERE received_at >= $since
    GROUP BY probe_id
),
beats AS (  -- the newest whole, unless a session began after it: then nothing of it is current
    SELECT heartbeats.*
    FROM heartbeats
    JOIN last_beats USING (probe_id, received_at)
    LEFT JOIN talks USING (probe_id)
    WHERE received_at >= coalesce(talks.hello.at_time, received_at)
    QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY heartbeats.rowid DESC) = 1
),
last_clocks AS (
    SELECT probe_id, max(at_time) AS at_time
    FROM clock_offsets
    WHERE at_time >= $since
    GROUP BY probe_id
),
clocks AS (
    SELECT clock_offsets.*
    FROM clock_offsets
    JOIN last_clocks USING (probe_id, at_time)
    QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY clock_offsets.rowid DESC) = 1
),
hellos AS (  -- what a probe says before its first heartbeat, and no longer than that
    SELECT probe_id, hello.backlog_rows AS spool_rows, hello.evicted_rows AS evicted_rows
    FROM talks
    ANTI JOIN beats USING (probe_id)
    WHERE hello.at_time >= $since
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
    declared.state_reason,
    declared.state_by,
    epoch_us(declared.state_at) AS state_at_us,
    declared.declared_asn,
    declared.declared_country,
    declared.seen_asn,
    declared.seen_country,
    declared.asn_source,
    declared.country_source,
    epoch_us(greatest(beats.received_at, reports.report_at, talks.talk_at)) AS seen_us,
    talks.what AS session,
    talks.hello.version AS version,
    talks.hello.families AS families,
    talks.hello.capabilities AS capabilities,
    talks.hello.limits AS limits,
    beats.plan_version,
    clocks.offset_ms,
    clocks.error_ms,
    beats.clock_synchronised,
    beats.clock_drift_ppm,
    coalesce(beats.spool_rows, hellos.spool_rows) AS spool_rows,
    beats.spool_bytes,
    coalesce(beats.evicted_rows, hellos.evicted_rows) AS evicted_rows,
    beats.overloaded_slots,
    beats.lateness_ms_p99,
    beats.queue_depth,
    beats.receive_drops,
    beats.uptime_s,
    beats.cpu_s,
    beats.rss_bytes,
    beats.translated
FROM declared
LEFT JOIN beats ON beats.probe_id = declared.probe_id
LEFT JOIN talks ON talks.probe_id = declared.probe_id
LEFT JOIN hellos ON hellos.probe_id = declared.probe_id
LEFT JOIN clocks ON clocks.probe_id = declared.probe_id
LEFT JOIN reports ON reports.probe_id = declared.probe_id
ORDER BY declared.name, declared.probe_id
