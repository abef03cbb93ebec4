-- Verdicts as JSON with their revision, newest window first; $newest_only leaves out the revisions
-- that a later one stands beside. An empty $component means the whole service.
SELECT verdict_id, revision, stage, epoch_us(as_of) AS as_of_us, body
FROM verdicts
WHERE scenario IS NULL
    AND ($service IS NULL OR service = $service)
    AND ($component IS NULL OR coalesce(component, '') = $component)
    AND ($from IS NULL OR window_to > $from)
    AND ($to IS NULL OR window_from < $to)
QUALIFY NOT $newest_only
    OR row_number() OVER (PARTITION BY verdict_id ORDER BY revision DESC) = 1
ORDER BY window_from DESC, service, component NULLS FIRST, revision
LIMIT $limit
