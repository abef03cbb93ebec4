SELECT probe_id, name, vantage, state, enrolled_at_us, seen FROM probes ORDER BY enrolled_at_us, probe_id
