-- Add one revision of a verdict.
INSERT INTO verdicts VALUES (
    $verdict_id, $revision, $scenario, $service, $component, $window_from, $window_to, $as_of,
    $stage, $level, $class, $target_class, $source_class, $probability, $certified_f, $onset_from,
    $onset_to, $end_from, $end_to, $sentence, $reasons, $model_version, $body
)
