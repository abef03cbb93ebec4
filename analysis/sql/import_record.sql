-- Note a file that was taken in whole.
INSERT INTO imports VALUES (current_timestamp AT TIME ZONE 'UTC', $path, $sha256, $rows)
