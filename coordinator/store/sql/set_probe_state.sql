UPDATE probes SET state = $state WHERE probe_id = $probe_id
