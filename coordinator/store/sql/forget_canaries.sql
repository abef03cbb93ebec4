-- Answers that no row of a window can name any more.
DELETE FROM canary_answers WHERE answered_at < make_timestamp($before_us)
