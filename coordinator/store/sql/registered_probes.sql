-- Every probe of the registry.
SELECT probe_id FROM probes
