-- Of each probe: good answers of our own answerer that it reported, those that we never gave, and those
-- that somebody had reported before: each is given once. A slot that came twice counts once; what was
-- measured before the last restore may have lost its answer with it.
WITH asked AS (
    SELECT
        unnest(CAST($probe_ids AS VARCHAR[])) AS probe_id,
        make_timestamp(unnest(CAST($sinces_us AS BIGINT[]))) AS since
),
said AS (
    SELECT r.probe_id, r.slot_at, r.body_sha256, min(r.received_at) AS received_at
    FROM results AS r
    INNER JOIN asked AS a ON a.probe_id = r.probe_id AND r.received_at >= a.since
    WHERE r.service = 'canary'
        AND r.trigger = 'schedule'
        AND r.state = 'measured'
        AND r.failure IS NULL
        AND r.body_sha256 IS NOT NULL
        AND r.received_at >= (SELECT min(since) FROM asked)
        AND r.slot_at > (SELECT coalesce(max(restored_at), TIMESTAMP '-infinity') FROM restores)
    GROUP BY ALL
),
held AS (
    SELECT
        s.probe_id,
        a.body_sha256 IS NULL AS unknown,
        row_number() OVER (
            PARTITION BY s.body_sha256 ORDER BY s.received_at, s.probe_id, s.slot_at
        ) > 1 AS copied
    FROM said AS s
    LEFT JOIN (SELECT DISTINCT body_sha256 FROM canary_answers) AS a
        ON a.body_sha256 = s.body_sha256
)
SELECT
    probe_id,
    count(*) AS canary_rows,
    count(*) FILTER (WHERE unknown) AS canary_unknown,
    count(*) FILTER (WHERE copied AND NOT unknown) AS canary_copied
FROM held
GROUP BY probe_id
