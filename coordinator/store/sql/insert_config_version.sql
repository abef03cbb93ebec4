-- Every configuration that was read, accepted or not.
INSERT INTO config_versions
SELECT $config_version, make_timestamp($loaded_at_us), $accepted, $sha256, $source, $findings, $loaded_by
