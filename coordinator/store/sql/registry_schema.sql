-- Tokens and probes: apart from the results, because whoever may read those must not read these.
CREATE TABLE IF NOT EXISTS tokens (
    token_id BLOB NOT NULL,
    secret_sha256 BLOB NOT NULL,
    name VARCHAR NOT NULL,
    vantage VARCHAR NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    used_by BLOB
);
CREATE TABLE IF NOT EXISTS probes (
    probe_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    vantage VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    enrolled_at_us BIGINT NOT NULL
);
ALTER TABLE probes ADD COLUMN IF NOT EXISTS seen VARCHAR;
ALTER TABLE probes ADD COLUMN IF NOT EXISTS state_reason VARCHAR;
ALTER TABLE probes ADD COLUMN IF NOT EXISTS state_by VARCHAR;
ALTER TABLE probes ADD COLUMN IF NOT EXISTS state_at_us BIGINT;
-- When the CA was made of which it showed a certificate last.
ALTER TABLE probes ADD COLUMN IF NOT EXISTS shown_ca_us BIGINT;
