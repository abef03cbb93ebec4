UPDATE probes SET shown_ca_us = $ca_us WHERE probe_id = $probe_id
