SELECT probe_id, name, vantage_asn, vantage_country, provider, labels, state FROM current_probes
