-- The highest committed seq of each epoch, oldest epoch first.
SELECT probe_id, epoch, max(seq) AS mark
FROM batches
GROUP BY probe_id, epoch
ORDER BY max(received_at)
