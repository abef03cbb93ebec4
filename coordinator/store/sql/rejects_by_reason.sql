-- Refused reports and their rows, by reason, over all time. Numbers in a reason are shown as N: a hostile
-- probe chooses them, and would make a figure of each.
SELECT
    regexp_replace(reason, '[0-9]+', 'N', 'g') AS reason,
    count(*) AS reports,
    CAST(coalesce(sum(row_count), 0) AS BIGINT) AS row_count
FROM rejects
GROUP BY ALL
ORDER BY ALL
