-- Answers of the coordinator's own answerer.
INSERT INTO canary_answers
SELECT
    make_timestamp(unnest(CAST($answered_at_us AS BIGINT[]))),
    unnest(CAST($address AS VARCHAR[])),
    unnest(CAST($body_sha256 AS VARCHAR[]))
