-- The distinct ways in which rows failed; the core says what each of them means.
SELECT DISTINCT
    CAST(kind AS VARCHAR) AS kind,
    CAST(operation AS VARCHAR) AS operation,
    CAST(failure AS VARCHAR) AS failure,
    http_status
FROM cells
WHERE scenario IS NOT DISTINCT FROM CAST($scenario AS VARCHAR)
    AND slot_at >= $since AND slot_at < $until
    AND (received_at IS NULL OR received_at <= $as_of)
    AND lost > 0
ORDER BY kind, operation NULLS FIRST, failure NULLS FIRST, http_status NULLS FIRST
