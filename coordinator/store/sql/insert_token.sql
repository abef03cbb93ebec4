INSERT INTO tokens VALUES (
    $token_id, $secret_sha256, $name, $vantage, $created_at_us, $expires_at_us, NULL
)
