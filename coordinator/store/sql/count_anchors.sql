-- Of each probe: cells of anchors that normally answer it, in bins in which it did not lose most of them
-- (its own line: the source axis judges that), seen by five voices and more; and those in which it says the
-- opposite of nine in ten others.
WITH asked AS (
    SELECT
        unnest(CAST($probe_ids AS VARCHAR[])) AS probe_id,
        unnest(CAST($names AS VARCHAR[])) AS vantage,
        make_timestamp(unnest(CAST($sinces_us AS BIGINT[]))) AS since
),
seen AS (
    SELECT slot_at, component, kind, family, vantage, sum(lost) = sum(sent) AS fails
    FROM cells
    WHERE scenario IS NULL
        AND service = 'anchor'
        AND slot_at >= (SELECT min(since) FROM asked)
        AND vantage IN (SELECT vantage FROM asked)
    GROUP BY ALL
    HAVING sum(sent) > 0
),
weighed AS (
    SELECT
        *,
        avg(CAST(fails AS INTEGER)) OVER (PARTITION BY slot_at, vantage) AS own_share,
        avg(CAST(fails AS INTEGER)) OVER (
            PARTITION BY component, kind, family, vantage
        ) AS usual_share,
        count(*) OVER (PARTITION BY slot_at, component, kind, family) - 1 AS others,
        count(*) FILTER (WHERE fails) OVER (
            PARTITION BY slot_at, component, kind, family
        ) - CAST(fails AS INTEGER) AS others_failing
    FROM seen
),
held AS (
    SELECT
        a.probe_id,
        w.component,
        CASE WHEN w.fails THEN w.others_failing <= 0.1 * w.others ELSE w.others_failing >= 0.9 * w.others END AS alone
    FROM weighed AS w
    INNER JOIN asked AS a ON a.vantage = w.vantage AND w.slot_at >= a.since
    WHERE w.others >= 4 AND w.own_share < 0.6 AND w.usual_share < 0.5
)
SELECT
    probe_id,
    count(*) AS anchor_cells,
    count(*) FILTER (WHERE alone) AS anchor_alone,
    count(DISTINCT component) FILTER (WHERE alone) AS anchors_alone
FROM held
GROUP BY probe_id
