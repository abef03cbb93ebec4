-- Attempts by outcome, per vantage, target, channel and bin: everything that a judgement counts.
--
-- One scan. Rows before the window (bin -1) are history: decayed by age, without the bins that earlier
-- verdicts (the newest revision of each at the asked instant: a false alarm that was taken back cuts
-- nothing) or their own failing share mark as an incident. Slowness is decided here, against the
-- median and the median absolute deviation of the log times of the cell's own recent history. What the
-- same vantage point's controls do in the same bin is taken off first (`common`): when unrelated targets
-- answer just as late, the delay is the vantage point's or its line's. What a lost
-- attempt means was decided beforehand per signature and is joined in; a signature without an outcome
-- says nothing about the target and drops out.
WITH wanted_target AS (
    SELECT
        unnest(CAST($services AS VARCHAR[])) AS service,
        unnest(CAST($components AS VARCHAR[])) AS component,
        unnest(CAST($targets AS INTEGER[])) AS target,
        unnest(CAST($controls AS BOOLEAN[])) AS is_control
),
wanted_vantage AS (
    SELECT
        unnest(CAST($names AS VARCHAR[])) AS name,
        unnest(CAST($asns AS BIGINT[])) AS asn,
        unnest(CAST($countries AS VARCHAR[])) AS country,
        unnest(CAST($vantages AS INTEGER[])) AS vantage
),
signature AS (
    SELECT
        unnest(CAST($kinds AS VARCHAR[])) AS kind,
        unnest(CAST($operations AS VARCHAR[])) AS operation,
        unnest(CAST($failures AS VARCHAR[])) AS failure,
        unnest(CAST($statuses AS INTEGER[])) AS http_status,
        unnest(CAST($outcomes AS INTEGER[])) AS outcome
),
scanned AS (
    SELECT
        v.vantage,
        v.name,
        t.target,
        t.is_control,
        CAST(c.kind AS VARCHAR) AS kind,
        coalesce(c.family, 0) AS family,
        CAST(floor((epoch(c.slot_at) - epoch(CAST($since AS TIMESTAMP))) / $bin_s) AS BIGINT) AS bin,
        epoch(CAST($since AS TIMESTAMP)) - epoch(c.slot_at) AS age_s,
        c.slot_at,
        c.service,
        c.sent,
        c.lost,
        c.rtt_ms,
        s.outcome AS lost_outcome
    FROM cells AS c
    INNER JOIN wanted_target AS t ON c.service = t.service AND c.component = t.component
    INNER JOIN wanted_vantage AS v
        ON c.vantage = v.name
        AND coalesce(c.vantage_asn, -1) = v.asn
        AND coalesce(c.vantage_country, '') = v.country
    LEFT JOIN signature AS s
        ON CAST(c.kind AS VARCHAR) = s.kind
        AND coalesce(CAST(c.operation AS VARCHAR), '') = s.operation
        AND coalesce(CAST(c.failure AS VARCHAR), '') = s.failure
        AND coalesce(c.http_status, -1) = s.http_status
    WHERE c.scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
        AND c.slot_at >= $history_since AND c.slot_at < $until
        AND (c.received_at IS NULL OR c.received_at <= $as_of)
),
last_word AS (
    SELECT service, level, onset_from, end_to, window_from, window_to, body
    FROM verdicts
    WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
        AND as_of <= $as_of
    QUALIFY row_number() OVER (PARTITION BY verdict_id ORDER BY revision DESC) = 1
),
known_incident AS (
    SELECT
        service,
        level,
        coalesce(onset_from, window_from) AS bad_from,
        coalesce(end_to, window_to) AS bad_to,
        json_extract_string(body, '$.scope.vantages[*]') AS vantages
    FROM last_word
    WHERE level IN ('local', 'upstream', 'target', 'application')
),
bin_share AS (
    SELECT target, kind, bin, sum(lost) / sum(sent) AS share, count(*) AS voices
    FROM scanned
    WHERE bin < 0 AND sent > 0
    GROUP BY target, kind, bin
),
usual_share AS (
    SELECT target, kind, percentile_cont(0.5) WITHIN GROUP (ORDER BY share) AS share
    FROM bin_share
    GROUP BY target, kind
),
own_incident AS (
    SELECT b.target, b.kind, b.bin
    FROM bin_share AS b
    INNER JOIN usual_share AS u ON b.target = u.target AND b.kind = u.kind
    WHERE b.share > u.share + $incident_share AND b.voices >= $incident_voices
),
kept AS (
    SELECT s.*
    FROM scanned AS s
    WHERE s.bin >= 0
        OR (
            NOT EXISTS (
                SELECT 1 FROM own_incident AS o
                WHERE o.target = s.target AND o.kind = s.kind AND o.bin = s.bin
            )
            AND NOT EXISTS (
                SELECT 1 FROM known_incident AS k
                WHERE s.slot_at >= k.bad_from AND s.slot_at < k.bad_to
                    AND CASE k.level
                        WHEN 'local' THEN len(k.vantages) = 0 OR list_contains(k.vantages, s.name)
                        WHEN 'upstream' THEN true
                        ELSE k.service = s.service
                    END
            )
        )
),
middle AS (
    SELECT
        vantage, target, kind, family,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY ln(rtt_ms)) AS log_median,
        count(*) AS answers
    FROM kept
    WHERE bin < 0 AND age_s <= $rtt_history_s AND rtt_ms > 0 AND lost < sent
    GROUP BY vantage, target, kind, family
),
spread AS (
    SELECT
        k.vantage, k.target, k.kind, k.family,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(ln(k.rtt_ms) - m.log_median)) AS deviation
    FROM kept AS k
    INNER JOIN middle AS m
        ON k.vantage = m.vantage AND k.target = m.target
        AND k.kind = m.kind AND k.family = m.family
    WHERE k.bin < 0 AND k.age_s <= $rtt_history_s AND k.rtt_ms > 0 AND k.lost < k.sent
    GROUP BY k.vantage, k.target, k.kind, k.family
),
common AS (
    SELECT
        k.vantage, k.kind, k.family, k.bin,
        greatest(percentile_cont(0.5) WITHIN GROUP (ORDER BY ln(k.rtt_ms) - m.log_median), 0) AS lag
    FROM kept AS k
    INNER JOIN middle AS m
        ON k.vantage = m.vantage AND k.target = m.target
        AND k.kind = m.kind AND k.family = m.family
    WHERE k.is_control AND k.rtt_ms > 0 AND k.lost < k.sent AND m.answers >= $slow_min_history
    GROUP BY k.vantage, k.kind, k.family, k.bin
    HAVING count(DISTINCT k.target) >= $slow_min_controls
),
timed AS (
    SELECT
        k.*,
        coalesce(
            m.answers >= $slow_min_history
            AND k.rtt_ms >= $slow_factor * exp(m.log_median + coalesce(c.lag, 0))
            AND k.rtt_ms >= exp(m.log_median + coalesce(c.lag, 0)) + $slow_excess_ms
            AND ln(k.rtt_ms) - m.log_median - coalesce(c.lag, 0)
                > $slow_z * greatest($mad_to_sigma * d.deviation, $slow_spread_floor),
            false
        ) AS is_slow
    FROM kept AS k
    LEFT JOIN middle AS m
        ON k.vantage = m.vantage AND k.target = m.target
        AND k.kind = m.kind AND k.family = m.family
    LEFT JOIN spread AS d
        ON k.vantage = d.vantage AND k.target = d.target
        AND k.kind = d.kind AND k.family = d.family
    LEFT JOIN common AS c
        ON k.vantage = c.vantage AND k.kind = c.kind AND k.family = c.family AND k.bin = c.bin
),
parts AS (
    SELECT
        vantage, target, kind, family, bin, age_s,
        CASE WHEN is_slow THEN 1 ELSE 0 END AS outcome,
        sent - lost AS attempts
    FROM timed
    WHERE sent > lost
    UNION ALL
    SELECT vantage, target, kind, family, bin, age_s, lost_outcome AS outcome, lost AS attempts
    FROM timed
    WHERE lost > 0 AND lost_outcome IS NOT NULL
)
SELECT
    vantage,
    target,
    kind,
    family,
    greatest(bin, -1) AS bin,
    outcome,
    CAST(sum(attempts) AS DOUBLE) AS attempts,
    sum(attempts * CASE WHEN bin < 0 THEN pow(2.0, -age_s / $half_life_s) ELSE 1.0 END) AS weight
FROM parts
GROUP BY vantage, target, kind, family, greatest(bin, -1), outcome
ORDER BY vantage, target, kind, family, bin, outcome
