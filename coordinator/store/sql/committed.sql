-- Reports and rows that were committed, over all time, and when the last one came.
SELECT
    count(*) AS reports,
    CAST(coalesce(sum(row_count), 0) AS BIGINT) AS row_count,
    epoch_us(max(received_at)) AS newest_us
FROM batches
