INSERT INTO probes (probe_id, name, vantage, state, enrolled_at_us) VALUES ($probe_id, $name, $vantage, $state, $enrolled_at_us)
