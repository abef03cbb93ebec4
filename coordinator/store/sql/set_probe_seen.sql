UPDATE probes SET seen = $seen WHERE probe_id = $probe_id
