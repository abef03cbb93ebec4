INSERT INTO probes VALUES ($probe_id, $name, $vantage, $state, $enrolled_at_us)
