-- Every probe whose declaration the store has.
SELECT DISTINCT probe_id FROM probes
