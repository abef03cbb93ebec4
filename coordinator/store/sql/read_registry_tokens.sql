SELECT token_id, secret_sha256, name, vantage, created_at_us, expires_at_us, used_by FROM tokens
