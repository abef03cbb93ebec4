-- What probes say of their hosts: how far they let a plan go, and whether somebody translates their address.

ALTER TABLE sessions ADD COLUMN limits STRUCT(
    checks_per_s DOUBLE,
    per_target_per_minute DOUBLE,
    concurrent UINTEGER,
    concurrent_https UINTEGER,
    outstanding_icmp UINTEGER
);
COMMENT ON COLUMN sessions.limits IS 'What the host allows whatever a plan says, as told at a connect; NULL = not told.';

ALTER TABLE heartbeats ADD COLUMN translated BOOLEAN;
COMMENT ON COLUMN heartbeats.translated IS 'Whether the coordinator sees the probe under another address than it sends from: a translator (NAT), tunnel or proxy is on the way. NULL = not known. The address of the host itself is told to nobody.';
