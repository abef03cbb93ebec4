-- What every vantage point ran, and what of it could not be used, by minute: the denominators that
-- cells leave out. Slots that never came are in the view ledger.
CREATE OR REPLACE VIEW coverage AS
SELECT
    date_trunc('minute', slot_at) AS minute_at,
    vantage,
    service,
    component,
    kind,
    count(*) AS slots,
    count(*) FILTER (WHERE state = 'measured' AND validity = 'ok'
        AND NOT coalesce(starts_with(CAST(failure AS VARCHAR), 'local_'), FALSE)) AS counted,
    count(*) FILTER (WHERE state = 'not_run') AS not_run,
    count(*) FILTER (WHERE validity = 'probe_fault'
        OR starts_with(CAST(failure AS VARCHAR), 'local_')) AS local_failed,
    count(*) FILTER (WHERE validity = 'clock_suspect') AS clock_suspect,
    count(*) FILTER (WHERE validity = 'late_start') AS late_start
FROM results
WHERE trigger = 'schedule' AND control IS NULL
GROUP BY ALL
