-- When probes were away, and where they sit: what a cut network looks like from here.

CREATE VIEW absences AS
WITH talks AS (
    SELECT
        probe_id,
        at_time,
        what,
        detail,
        -- A session that another one took over ends after that one began: it is no absence.
        lead(at_time) OVER (PARTITION BY probe_id ORDER BY at_time, rowid) AS until_at
    FROM sessions
    WHERE what IN ('connect', 'disconnect', 'silent')
        AND detail IS DISTINCT FROM 'another session took over'
)
SELECT
    talks.probe_id,
    probes.name AS vantage,
    probes.vantage_asn,
    probes.vantage_country,
    talks.at_time AS from_at,
    talks.until_at,
    talks.what,
    talks.detail AS reason,
    talks.detail NOT IN ('the probe hung up, or its connection broke off', 'silent')
        AS by_coordinator
FROM talks
ASOF LEFT JOIN probes
    ON talks.probe_id = probes.probe_id AND talks.at_time >= probes.recorded_at
WHERE talks.what <> 'connect';
COMMENT ON VIEW absences IS 'Each time a probe left, until it came back, with the place that its rows had then. Probes of one network that leave at once are evidence of that network, never of a target.';
COMMENT ON COLUMN absences.probe_id IS 'Who left.';
COMMENT ON COLUMN absences.vantage IS 'Short name, as in cells.';
COMMENT ON COLUMN absences.vantage_asn IS 'The AS that its rows were stamped with; NULL = not known.';
COMMENT ON COLUMN absences.vantage_country IS 'The country that its rows were stamped with; NULL = not known.';
COMMENT ON COLUMN absences.from_at IS 'When its session ended. Of one that fell silent: when it was given up, three heartbeats after its last word.';
COMMENT ON COLUMN absences.until_at IS 'When its next session began; NULL = it has not come back. Seconds are a change of connections, which gRPC makes each hour.';
COMMENT ON COLUMN absences.what IS 'disconnect or silent: it left, or nothing was heard of it any more.';
COMMENT ON COLUMN absences.reason IS 'As in sessions.detail.';
COMMENT ON COLUMN absences.by_coordinator IS 'The coordinator ended it: it stopped, or revoked the probe, or had no room. Nothing is to be learned from that of a network.';
COMMENT ON COLUMN sessions.detail IS 'Why it ended or was refused: what the coordinator told it, or that it went, or fell silent.';
