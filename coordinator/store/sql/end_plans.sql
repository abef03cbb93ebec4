-- What a probe followed until now: on another plan, and on its revocation.
UPDATE plans SET until_at = make_timestamp($until_at_us)
WHERE probe_id = $probe_id AND until_at IS NULL
