-- Files of networks that were read, taken or refused.
INSERT INTO network_tables
SELECT
    make_timestamp($read_at_us),
    $path,
    $sha256,
    make_timestamp($modified_at_us),
    $ranges,
    $findings
