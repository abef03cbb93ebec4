-- What a backup brought back, what is missing since, and who had a configuration read.

CREATE TABLE restores (
    restored_at TIMESTAMP NOT NULL,
    backup_at TIMESTAMP NOT NULL,
    check_no_floor UINTEGER NOT NULL,
    plan_version_floor UBIGINT NOT NULL,
    manifest_sha256 VARCHAR NOT NULL
);
COMMENT ON TABLE restores IS 'Every time that this store was brought back from a backup. What was received between the two instants is not here, acknowledged or not, but for what probes still held and sent again; its slots are unreported in the view ledger.';
COMMENT ON COLUMN restores.backup_at IS 'Up to when the backup holds everything that was committed.';
COMMENT ON COLUMN restores.check_no_floor IS 'New checks are numbered above this: numbers below may have been given after the backup, and probes may still send rows under them.';
COMMENT ON COLUMN restores.plan_version_floor IS 'New plans are numbered above this, for the same reason.';

ALTER TABLE config_versions ADD COLUMN loaded_by VARCHAR;
COMMENT ON COLUMN config_versions.loaded_by IS 'What had it read: start, file (it changed), signal, or reload or rollback with the user who asked; NULL = read before this was recorded.';

CREATE VIEW gaps AS
WITH short AS (
    SELECT probe_id, epoch FROM batches GROUP BY ALL HAVING max(seq) > count(*)
),
numbered AS (
    SELECT
        probe_id,
        epoch,
        seq,
        received_at,
        lag(seq, 1, 0) OVER report AS before_seq,
        lag(received_at) OVER report AS before_at
    FROM batches
    SEMI JOIN short USING (probe_id, epoch)
    WINDOW report AS (PARTITION BY probe_id, epoch ORDER BY seq)
),
missing AS (SELECT * FROM numbered WHERE seq > before_seq + 1),
refused AS (
    SELECT m.probe_id, m.epoch, m.seq, count(DISTINCT r.seq) AS reports
    FROM missing AS m
    INNER JOIN rejects AS r
        ON r.probe_id = m.probe_id AND r.epoch = m.epoch AND r.seq > m.before_seq AND r.seq < m.seq
    GROUP BY ALL
)
SELECT
    m.probe_id,
    printf('%016x', m.epoch) AS boot_id,
    m.before_seq + 1 AS from_seq,
    m.seq - 1 AS to_seq,
    m.seq - 1 - m.before_seq - coalesce(f.reports, 0) AS reports,
    m.before_at AS after_at,
    m.received_at AS until_at,
    (
        SELECT max(restored_at) FROM restores
        WHERE restored_at <= m.received_at AND restored_at > coalesce(m.before_at, '-infinity')
    ) AS restored_at
FROM missing AS m
LEFT JOIN refused AS f ON f.probe_id = m.probe_id AND f.epoch = m.epoch AND f.seq = m.seq
WHERE m.seq - 1 - m.before_seq > coalesce(f.reports, 0);
COMMENT ON VIEW gaps IS 'Reports of a probe that are missing between two that are here: numbers that nobody refused and nobody stored.';
COMMENT ON COLUMN gaps.from_seq IS 'First missing number of the boot; refused reports between the two are not counted in reports.';
COMMENT ON COLUMN gaps.after_at IS 'When the report before the gap came; NULL = the boot begins with the gap.';
COMMENT ON COLUMN gaps.until_at IS 'When the report behind the gap came.';
COMMENT ON COLUMN gaps.restored_at IS 'A restore that lies between: what the probe had been acknowledged went with it. NULL = none does: the probe gave the reports up for want of room.';
