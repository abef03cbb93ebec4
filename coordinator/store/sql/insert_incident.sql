-- One revision of one incident; nothing is ever written over.
INSERT INTO incidents BY NAME
SELECT
    $incident_id AS incident_id,
    $revision AS revision,
    $service AS service,
    $component AS component,
    $level AS level,
    $class AS class,
    $state AS state,
    $onset_from AS onset_from,
    $onset_to AS onset_to,
    $end_from AS end_from,
    $end_to AS end_to,
    $probability AS probability,
    $sentence AS sentence,
    $recorded_at AS recorded_at,
    $body AS body
