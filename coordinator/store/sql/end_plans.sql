-- What probes followed until now: on another plan, and on their revocation.
UPDATE plans SET until_at = make_timestamp(ended.at_us)
FROM ended
WHERE plans.probe_id = ended.probe_id AND plans.until_at IS NULL
