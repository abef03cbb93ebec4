-- What each vantage point is declared to be now: the newest row of its probe.
CREATE OR REPLACE TEMP TABLE current_probes AS
SELECT * FROM probes
QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY recorded_at DESC, rowid DESC) = 1
