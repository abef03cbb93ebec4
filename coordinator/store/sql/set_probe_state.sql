UPDATE probes
SET state = $state, state_reason = $reason, state_by = $by, state_at_us = $at_us
WHERE probe_id = $probe_id
