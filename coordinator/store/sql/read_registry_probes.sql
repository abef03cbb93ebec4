SELECT probe_id, name, vantage, state, enrolled_at_us, seen, state_reason, state_by, state_at_us FROM probes ORDER BY enrolled_at_us, probe_id
