SELECT probe_id, shown_ca_us FROM probes WHERE shown_ca_us IS NOT NULL
