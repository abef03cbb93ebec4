SELECT
    probe_id, name, vantage_asn, vantage_country, provider, labels, state,
    declared_asn, declared_country, seen_asn, seen_country, asn_source, country_source,
    state_reason, state_by, epoch_us(state_at) AS state_at_us
FROM current_probes
