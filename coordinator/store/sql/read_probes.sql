SELECT
    probe_id, name, vantage_asn, vantage_country, provider, labels, state,
    declared_asn, declared_country, seen_asn, seen_country, asn_source, country_source
FROM current_probes
