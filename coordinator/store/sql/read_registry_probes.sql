SELECT probe_id, name, vantage, state, enrolled_at_us FROM probes ORDER BY enrolled_at_us, probe_id
