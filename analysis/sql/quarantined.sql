-- Vantage points that weigh nothing at an instant: quarantined then, or revoked while they were. A name
-- that another, believed probe has by then is that probe's.
WITH history AS (
    SELECT
        probe_id,
        name,
        state,
        row_number() OVER (PARTITION BY probe_id ORDER BY recorded_at DESC, rowid DESC) AS age,
        row_number() OVER (
            PARTITION BY probe_id, state <> 'revoked' ORDER BY recorded_at DESC, rowid DESC
        ) AS age_alike
    FROM probes
    WHERE recorded_at <= $as_of
)
SELECT name
FROM history
GROUP BY name
HAVING bool_or(state = 'quarantined' AND age_alike = 1)
    AND NOT bool_or(state = 'enrolled' AND age = 1)
ORDER BY name
