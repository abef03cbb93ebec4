SELECT token_id, secret_sha256, name, vantage, expires_at_us, used_by FROM tokens
