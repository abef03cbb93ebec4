-- The newest revision on record of each of these verdicts.
SELECT
    verdict_id,
    max(revision) AS revision,
    epoch_us(arg_max(as_of, revision)) AS as_of_us,
    arg_max(level, revision) AS level,
    arg_max(class, revision) AS class
FROM verdicts
WHERE verdict_id IN (SELECT unnest($ids))
GROUP BY verdict_id
