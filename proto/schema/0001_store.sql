-- The store. Facts first (results and what surrounds them), then counts (cells), then judgements.
-- Stamps are UTC. NULL means not known; 0 means zero. Nothing here holds a secret: tokens, keys and
-- certificates of probes live in another file.

CREATE TYPE kind_word AS ENUM ('icmp', 'tcp', 'http', 'dns', 'tls', 'trace');
CREATE TYPE control_word AS ENUM (
    'remembered', 'public_resolver', 'authoritative', 'neutral_sni', 'second_port'
);
CREATE TYPE trigger_word AS ENUM ('schedule', 'confirmation', 'failure', 'request');
CREATE TYPE role_word AS ENUM ('subject', 'sibling', 'neighbour', 'same_as', 'cdn_peer', 'anchor');
CREATE TYPE state_word AS ENUM ('measured', 'not_run');
CREATE TYPE reason_word AS ENUM ('overloaded', 'policy', 'unsupported', 'stopped');
CREATE TYPE validity_word AS ENUM ('ok', 'clock_suspect', 'late_start', 'probe_fault');
CREATE TYPE operation_word AS ENUM ('resolve', 'connect', 'tls', 'request', 'reply', 'echo', 'hop');
CREATE TYPE failure_word AS ENUM (
    'timeout', 'refused', 'rejected', 'reset', 'net_unreachable', 'host_unreachable', 'prohibited',
    'ttl_exceeded', 'loop',
    'dns_nxdomain', 'dns_nodata', 'dns_servfail', 'dns_refused', 'dns_malformed', 'dns_timeout',
    'dns_mismatch',
    'tls_alert', 'tls_expired', 'tls_not_yet_valid', 'tls_name_mismatch', 'tls_untrusted',
    'tls_protocol',
    'http_status', 'http_content', 'http_malformed', 'http_truncated', 'http_redirect',
    'local_no_route', 'local_no_port', 'local_no_buffer', 'local_denied', 'local_no_family',
    'local_overload', 'unknown'
);
CREATE TYPE stamp_word AS ENUM ('kernel', 'tcp_info', 'coarse', 'user', 'kernel_both');

-- ---------------------------------------------------------------- who and what

CREATE TABLE probes (
    declaration_no UINTEGER NOT NULL,
    probe_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    vantage_asn UINTEGER,
    vantage_country VARCHAR,
    provider VARCHAR,
    labels VARCHAR,
    state VARCHAR NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE probes IS 'Vantage points as declared, one row per change; the newest row of a probe holds.';
COMMENT ON COLUMN probes.declaration_no IS 'Number of this row, by which results say what their vantage point was when they came.';
COMMENT ON COLUMN probes.name IS 'Short name of the vantage point; what cells call vantage.';
COMMENT ON COLUMN probes.labels IS 'JSON object of the labels given with the enrolment token.';
COMMENT ON COLUMN probes.state IS 'enrolled, quarantined or revoked. Quarantine lowers weight and hides no row.';

CREATE TABLE checks (
    definition_no UINTEGER NOT NULL,
    check_no UINTEGER NOT NULL,
    check_id VARCHAR NOT NULL,
    kind kind_word NOT NULL,
    control control_word,
    service VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    role role_word NOT NULL,
    host VARCHAR NOT NULL,
    port USMALLINT,
    family UTINYINT NOT NULL,
    interval_s DOUBLE NOT NULL,
    timeout_s DOUBLE NOT NULL,
    target_asn UINTEGER,
    target_prefix VARCHAR,
    config_version UINTEGER NOT NULL
);
COMMENT ON TABLE checks IS 'Definitions of checks, one row per configuration version that changed them; the newest row of a check_no holds.';
COMMENT ON COLUMN checks.definition_no IS 'Number of this row, by which results say what their check was when they came.';
COMMENT ON COLUMN checks.check_no IS 'Stable number of the check; the same over configuration versions while its check_id stays.';
COMMENT ON COLUMN checks.control IS 'How the check departs from what a user does, to tell where a failure sits; NULL = it does not.';
COMMENT ON COLUMN checks.interval_s IS '0 = no slots: it runs when another check fails, or on request.';
COMMENT ON COLUMN checks.role IS 'What the component is for its service; anchors belong to the service named anchor.';
COMMENT ON COLUMN checks.target_prefix IS 'Announced prefix of the endpoint as the operator declared it.';

CREATE TABLE plans (
    probe_id VARCHAR NOT NULL,
    plan_version UBIGINT NOT NULL,
    config_version UINTEGER NOT NULL,
    check_no UINTEGER NOT NULL,
    interval_us UBIGINT NOT NULL,
    phase_us UBIGINT NOT NULL,
    from_at TIMESTAMP NOT NULL,
    until_at TIMESTAMP
);
COMMENT ON TABLE plans IS 'Which check a probe was asked to run, from when until when (NULL = still): the denominators.';
COMMENT ON COLUMN plans.interval_us IS '0 = no slots: it runs when another check fails, or on request.';
COMMENT ON COLUMN plans.phase_us IS 'Offset of the slots of this probe and check from the grid of the interval.';
COMMENT ON COLUMN plans.from_at IS 'When the probe first said that it follows this plan; slots before it were never due.';

CREATE TABLE config_versions (
    config_version UINTEGER,
    loaded_at TIMESTAMP NOT NULL,
    accepted BOOLEAN NOT NULL,
    sha256 VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    findings VARCHAR
);
COMMENT ON TABLE config_versions IS 'Every configuration that was read: the text of it, and what was wrong where it was refused (version NULL).';

-- ---------------------------------------------------------------- facts

CREATE TABLE result_facts (
    fact_no UINTEGER NOT NULL,
    state state_word NOT NULL,
    reason reason_word,
    address VARCHAR,
    port USMALLINT,
    family UTINYINT NOT NULL,
    operation operation_word,
    failure failure_word,
    sent USMALLINT NOT NULL,
    lost USMALLINT NOT NULL,
    duplicates USMALLINT NOT NULL,
    late USMALLINT NOT NULL,
    retransmits USMALLINT,
    stamp_source stamp_word,
    http_status USMALLINT,
    http_version VARCHAR,
    cert_sha256 VARCHAR,
    cert_verify USMALLINT,
    tls_version VARCHAR,
    dns_rcode USMALLINT,
    router VARCHAR,
    icmp_type UTINYINT,
    icmp_code UTINYINT,
    edge VARCHAR,
    validity validity_word NOT NULL,
    trigger trigger_word NOT NULL,
    page VARCHAR,
    dns_flags VARCHAR,
    clock_synchronised BOOLEAN
);
COMMENT ON TABLE result_facts IS 'What many rows say alike, each combination once or a few times: the words, counts and names of a result. Read the view results, which joins it.';
COMMENT ON COLUMN result_facts.fact_no IS 'Number of the combination; result_rows name it.';

CREATE TABLE result_rows (
    slot_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    received_at TIMESTAMP NOT NULL,
    declaration_no UINTEGER NOT NULL,
    epoch UBIGINT NOT NULL,
    seq UBIGINT NOT NULL,
    definition_no UINTEGER NOT NULL,
    fact_no UINTEGER NOT NULL,
    rtt_ms_min FLOAT,
    rtt_ms_median FLOAT,
    rtt_ms_max FLOAT,
    resolve_ms FLOAT,
    connect_ms FLOAT,
    tls_ms FLOAT,
    first_byte_ms FLOAT,
    total_ms FLOAT,
    body_bytes UINTEGER,
    body_sha256 VARCHAR,
    location VARCHAR,
    dns_ttl_s UINTEGER,
    answers VARCHAR,
    lateness_ms FLOAT,
    clock_offset_ms FLOAT,
    clock_error_ms FLOAT
);
COMMENT ON TABLE result_rows IS 'What a result says of itself alone, one row per result, in the order of arrival. Read the view results, which joins what stands in probes, checks and result_facts.';
COMMENT ON COLUMN result_rows.declaration_no IS 'The row of probes that held when it came.';
COMMENT ON COLUMN result_rows.epoch IS 'The probe process that measured it; boot_id as a number.';
COMMENT ON COLUMN result_rows.definition_no IS 'The row of checks that held when it came.';
COMMENT ON COLUMN result_rows.fact_no IS 'The row of result_facts that says the rest.';

CREATE TABLE hops (
    slot_at TIMESTAMP NOT NULL,
    received_at TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    check_no UINTEGER NOT NULL,
    trigger trigger_word NOT NULL,
    service VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    vantage VARCHAR NOT NULL,
    vantage_asn UINTEGER,
    vantage_country VARCHAR,
    address VARCHAR,
    ttl UTINYINT NOT NULL,
    packet UTINYINT NOT NULL,
    router VARCHAR,
    rtt_ms FLOAT,
    icmp_type UTINYINT,
    icmp_code UTINYINT
);
COMMENT ON TABLE hops IS 'The packets of traces, one row each; slot_at, probe_id and check_no name the row of results that they belong to.';
COMMENT ON COLUMN hops.address IS 'The address that the trace was aimed at.';
COMMENT ON COLUMN hops.ttl IS 'Time to live of the packet: how many routers it may pass.';
COMMENT ON COLUMN hops.router IS 'Who answered; NULL = nobody did in time, which is no proof that nobody was there.';
COMMENT ON COLUMN hops.icmp_type IS 'Of the ICMP error; NULL with a router: the target itself answered.';

CREATE TABLE batches (
    probe_id VARCHAR NOT NULL,
    epoch UBIGINT NOT NULL,
    seq UBIGINT NOT NULL,
    row_count UINTEGER NOT NULL,
    received_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE batches IS 'Every report that was committed: the high-water marks, and the audit of when what arrived.';

CREATE TABLE rejects (
    received_at TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    epoch UBIGINT,
    seq UBIGINT,
    row_count UINTEGER,
    reason VARCHAR NOT NULL
);
COMMENT ON TABLE rejects IS 'Reports that were refused, and why; their rows are in no other table.';

CREATE TABLE certificates (
    cert_sha256 VARCHAR NOT NULL,
    seen_at TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    subject VARCHAR,
    issuer VARCHAR,
    names VARCHAR,
    not_before TIMESTAMP,
    not_after TIMESTAMP,
    der BLOB NOT NULL
);
COMMENT ON TABLE certificates IS 'Leaf certificates seen by probes, once per fingerprint, as received and as parsed (NULL where it did not parse).';

CREATE TABLE sessions (
    at_time TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    what VARCHAR NOT NULL,
    boot_id VARCHAR,
    version VARCHAR,
    detail VARCHAR,
    backlog_rows UBIGINT,
    evicted_rows UBIGINT,
    families VARCHAR[],
    capabilities VARCHAR[]
);
COMMENT ON TABLE sessions IS 'Connects, disconnects and refusals of probes: bursts by AS or country are evidence for the source axis.';
COMMENT ON COLUMN sessions.families IS 'Address families that the probe has at a connect, such as [4, 6].';
COMMENT ON COLUMN sessions.capabilities IS 'What the probe says at a connect that it can: icmp4, icmp4_raw, icmp6, icmp6_raw, rx_stamps, tx_stamps.';
COMMENT ON COLUMN sessions.what IS 'connect, disconnect, refused or silent.';

CREATE TABLE heartbeats (
    received_at TIMESTAMP NOT NULL,
    sent_at TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    plan_version UBIGINT NOT NULL,
    uptime_s DOUBLE NOT NULL,
    rss_bytes UBIGINT,
    cpu_s DOUBLE NOT NULL,
    spool_bytes UBIGINT NOT NULL,
    spool_rows UBIGINT NOT NULL,
    evicted_rows UBIGINT NOT NULL,
    queue_depth UINTEGER NOT NULL,
    lateness_ms_p99 FLOAT,
    receive_drops UBIGINT,
    clock_synchronised BOOLEAN,
    overloaded_slots UBIGINT NOT NULL,
    clock_drift_ppm FLOAT
);
COMMENT ON TABLE heartbeats IS 'What probes say of themselves.';

COMMENT ON COLUMN heartbeats.overloaded_slots IS 'Slots given up since the probe started because it was too busy. Each has its row not_run: overloaded, but for those of one gap beyond its newest 1,000.';
COMMENT ON COLUMN heartbeats.clock_drift_ppm IS 'How much the probe''s wall clock gains on the coordinator''s; NULL = not known yet.';

CREATE TABLE clock_offsets (
    at_time TIMESTAMP NOT NULL,
    probe_id VARCHAR NOT NULL,
    offset_ms FLOAT NOT NULL,
    error_ms FLOAT NOT NULL
);
COMMENT ON TABLE clock_offsets IS 'Coordinator minus probe, best of the last samples, with its bound (half the delay).';

-- ---------------------------------------------------------------- counts

CREATE TABLE cells (
    scenario VARCHAR,
    slot_at TIMESTAMP NOT NULL,
    bin_s UINTEGER NOT NULL,
    vantage VARCHAR NOT NULL,
    vantage_asn UINTEGER,
    vantage_country VARCHAR,
    service VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    role role_word,
    kind kind_word NOT NULL,
    family UTINYINT,
    address VARCHAR,
    target_asn UINTEGER,
    target_prefix VARCHAR,
    sent UINTEGER NOT NULL,
    lost UINTEGER NOT NULL,
    operation operation_word,
    failure failure_word,
    http_status USMALLINT,
    rtt_ms FLOAT,
    received_at TIMESTAMP
);
COMMENT ON TABLE cells IS 'Counts per bin, vantage, target and outcome: what is judged. Rolled up from results, or imported. Rows of one cell that failed differently stand apart and add up.';
COMMENT ON COLUMN cells.scenario IS 'NULL for what this coordinator measured; the name of the replayed scenario for imported rows.';
COMMENT ON COLUMN cells.slot_at IS 'Start of the bin.';
COMMENT ON COLUMN cells.bin_s IS 'Width of the bin; 0 = one slot.';
COMMENT ON COLUMN cells.rtt_ms IS 'Median time of the good attempts: echo for icmp, handshake for tcp and tls, answer for dns, first byte for http.';
COMMENT ON COLUMN cells.received_at IS 'When the last row that it counts arrived; NULL = with the slot.';

CREATE TABLE rollups (
    bin_at TIMESTAMP NOT NULL,
    bin_s UINTEGER NOT NULL,
    rolled_at TIMESTAMP NOT NULL,
    result_rows UBIGINT NOT NULL
);
COMMENT ON TABLE rollups IS 'When each bin was last counted, and over how many results: more results than that means late ones came.';

CREATE TABLE imports (
    imported_at TIMESTAMP NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    row_count UBIGINT NOT NULL
);
COMMENT ON TABLE imports IS 'Files of foreign rows that were taken in whole.';

-- ---------------------------------------------------------------- judgements

CREATE TABLE verdicts (
    verdict_id VARCHAR NOT NULL,
    revision UINTEGER NOT NULL,
    scenario VARCHAR,
    service VARCHAR NOT NULL,
    component VARCHAR,
    window_from TIMESTAMP NOT NULL,
    window_to TIMESTAMP NOT NULL,
    as_of TIMESTAMP NOT NULL,
    stage VARCHAR NOT NULL,
    level VARCHAR NOT NULL,
    class VARCHAR NOT NULL,
    target_class VARCHAR,
    source_class VARCHAR,
    probability DOUBLE,
    certified_f INTEGER,
    onset_from TIMESTAMP,
    onset_to TIMESTAMP,
    end_from TIMESTAMP,
    end_to TIMESTAMP,
    sentence VARCHAR NOT NULL,
    reasons VARCHAR,
    model_version VARCHAR NOT NULL,
    body VARCHAR NOT NULL
);
COMMENT ON TABLE verdicts IS 'Judgements, never overwritten: late data makes a new revision of the same verdict_id.';
COMMENT ON COLUMN verdicts.component IS 'NULL = the whole service.';
COMMENT ON COLUMN verdicts.as_of IS 'Only rows received up to here were used: the verdict can be recomputed from them.';
COMMENT ON COLUMN verdicts.stage IS 'provisional, revised, final or recomputed.';
COMMENT ON COLUMN verdicts.body IS 'The whole verdict as JSON: posterior, groups, evidence sentences with their SQL.';

CREATE TABLE incidents (
    incident_id VARCHAR NOT NULL,
    revision UINTEGER NOT NULL,
    service VARCHAR NOT NULL,
    component VARCHAR,
    level VARCHAR NOT NULL,
    class VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    onset_from TIMESTAMP,
    onset_to TIMESTAMP,
    end_from TIMESTAMP,
    end_to TIMESTAMP,
    probability DOUBLE,
    sentence VARCHAR NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    body VARCHAR NOT NULL
);
COMMENT ON TABLE incidents IS 'Runs of verdicts that say the same of the same thing; identity is kept over revisions.';
COMMENT ON COLUMN incidents.state IS 'open, ended, or withdrawn where later rows did not bear it out.';

-- ---------------------------------------------------------------- views

CREATE VIEW results AS
SELECT
    r.slot_at,
    r.started_at,
    r.received_at,
    p.probe_id,
    printf('%016x', r.epoch) AS boot_id,
    r.seq,
    c.check_no,
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
    f.state,
    f.reason,
    f.address,
    f.port,
    f.family,
    f.operation,
    f.failure,
    f.sent,
    f.lost,
    f.duplicates,
    f.late,
    f.retransmits,
    r.rtt_ms_min,
    r.rtt_ms_median,
    r.rtt_ms_max,
    r.resolve_ms,
    r.connect_ms,
    r.tls_ms,
    r.first_byte_ms,
    r.total_ms,
    f.stamp_source,
    f.http_status,
    f.http_version,
    r.body_bytes,
    r.body_sha256,
    r.location,
    f.cert_sha256,
    f.cert_verify,
    f.tls_version,
    f.dns_rcode,
    r.dns_ttl_s,
    r.answers,
    f.router,
    f.icmp_type,
    f.icmp_code,
    f.edge,
    r.lateness_ms,
    r.clock_offset_ms,
    r.clock_error_ms,
    f.validity,
    f.trigger,
    f.page,
    f.dns_flags,
    f.clock_synchronised,
    r.rowid AS row_no
FROM result_rows AS r
INNER JOIN result_facts AS f ON f.fact_no = r.fact_no
INNER JOIN checks AS c ON c.definition_no = r.definition_no
INNER JOIN probes AS p ON p.declaration_no = r.declaration_no;
COMMENT ON VIEW results IS 'The slot ledger: one row with trigger schedule per probe, check and slot that was measured or not run, and beside it what was tried because of a failure or on request. A slot that came again in another report is kept here and counted nowhere: the first received holds. What never came is in the view ledger as unreported.';
COMMENT ON COLUMN results.slot_at IS 'The scheduled instant, by the probe''s wall clock.';
COMMENT ON COLUMN results.started_at IS 'When the check really started, by the probe''s wall clock; NULL when it was not run.';
COMMENT ON COLUMN results.received_at IS 'When the coordinator took it in, by the coordinator''s clock.';
COMMENT ON COLUMN results.boot_id IS 'The probe process that measured it.';
COMMENT ON COLUMN results.seq IS 'Number of the report that carried it, within the boot.';
COMMENT ON COLUMN results.vantage_asn IS 'As of this row: a vantage point can move.';
COMMENT ON COLUMN results.state IS 'measured or not_run.';
COMMENT ON COLUMN results.reason IS 'Why it was not run; NULL when measured.';
COMMENT ON COLUMN results.operation IS 'The step that failed; NULL when none did. A later step was not attempted.';
COMMENT ON COLUMN results.failure IS 'How it failed, from a closed list; NULL = good. A local_* failure never counts against the target.';
COMMENT ON COLUMN results.sent IS 'Attempts made: packets for icmp, connections or queries else.';
COMMENT ON COLUMN results.lost IS 'Attempts without a good answer in time.';
COMMENT ON COLUMN results.late IS 'Of the lost ones, those answered within a second after the deadline.';
COMMENT ON COLUMN results.retransmits IS 'SYN retransmits for tcp, http and tls; repeated queries for dns.';
COMMENT ON COLUMN results.rtt_ms_median IS 'Round trip by the clock in stamp_source.';
COMMENT ON COLUMN results.resolve_ms IS 'Time of the name resolution of this slot; NULL when none was needed.';
COMMENT ON COLUMN results.first_byte_ms IS 'From the request''s last byte sent to the first byte of the answer.';
COMMENT ON COLUMN results.total_ms IS 'From the first step to the last byte.';
COMMENT ON COLUMN results.cert_verify IS '0 = good, else the verification code of X.509 (10 expired, 18 self-signed, 20 issuer unknown, 62 name).';
COMMENT ON COLUMN results.router IS 'Address that sent the ICMP error.';
COMMENT ON COLUMN results.edge IS 'Key of the point of presence, from headers of the answer.';
COMMENT ON COLUMN results.lateness_ms IS 'Start minus the instant at which it fell due: its slot, or when it was triggered.';
COMMENT ON COLUMN results.clock_offset_ms IS 'Coordinator minus probe, as last estimated; never used to correct a stamp silently.';
COMMENT ON COLUMN results.clock_error_ms IS 'Bound of that estimate: half the round trip.';
COMMENT ON COLUMN results.validity IS 'Is the row fit for use? A separate axis, never a state of the network.';

COMMENT ON COLUMN results.control IS 'How the check departs from what a user does; such rows are in no cell of their component. NULL = it does not.';
COMMENT ON COLUMN results.trigger IS 'What made the row. Only schedule is evidence and counted. Rows of confirmation and failure have the slot_at of the failed slot that asked for them, rows of request the instant of the request; several may share it.';
COMMENT ON COLUMN results.page IS 'A known page that is not the service''s own: challenge or block. A fact about the answer, not a verdict.';
COMMENT ON COLUMN results.dns_flags IS 'Flags of the answer as dig prints them, and tcp where it came by TCP.';
COMMENT ON COLUMN results.clock_synchronised IS 'Whether the probe''s kernel believed that somebody disciplines its clock; NULL = it would not say.';
COMMENT ON COLUMN results.row_no IS 'Order in which the store took the rows of a report and the reports; names nothing outside this file.';

CREATE VIEW ledger AS
WITH due AS (
    SELECT
        p.probe_id,
        p.check_no,
        p.plan_version,
        unnest(generate_series(
            p.from_at + to_microseconds(CAST((p.phase_us - epoch_us(p.from_at) % p.interval_us + p.interval_us) % p.interval_us AS BIGINT)),
            coalesce(p.until_at, (SELECT max(received_at) FROM batches)) - to_microseconds(1),
            to_microseconds(CAST(p.interval_us AS BIGINT))
        )) AS slot_at
    FROM plans AS p
    WHERE p.interval_us > 0
)
SELECT
    due.slot_at,
    due.probe_id,
    due.check_no,
    coalesce(CAST(r.state AS VARCHAR), 'unreported') AS state,
    r.reason,
    r.operation,
    r.failure,
    r.validity
FROM due
LEFT JOIN results AS r
    ON r.probe_id = due.probe_id AND r.check_no = due.check_no AND r.slot_at = due.slot_at
    AND r.trigger = 'schedule'
QUALIFY row_number() OVER (
    PARTITION BY due.probe_id, due.check_no, due.slot_at
    ORDER BY r.received_at, r.seq, r.row_no
) = 1;
COMMENT ON VIEW ledger IS 'Every slot that was due, once: measured, not_run, or unreported where no row ever came. Of several rows the first received holds.';
