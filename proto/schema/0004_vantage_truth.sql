-- Where probes are: what the coordinator sees of them beside what was declared.

ALTER TABLE probes ADD COLUMN declared_asn UINTEGER;
ALTER TABLE probes ADD COLUMN declared_country VARCHAR;
ALTER TABLE probes ADD COLUMN seen_asn UINTEGER;
ALTER TABLE probes ADD COLUMN seen_country VARCHAR;
ALTER TABLE probes ADD COLUMN asn_source VARCHAR;
ALTER TABLE probes ADD COLUMN country_source VARCHAR;
UPDATE probes SET
    declared_asn = vantage_asn,
    declared_country = vantage_country,
    asn_source = CASE WHEN vantage_asn IS NOT NULL THEN 'declared' END,
    country_source = CASE WHEN vantage_country IS NOT NULL THEN 'declared' END;
COMMENT ON TABLE probes IS 'Vantage points as they were known, one row per change; the newest row of a probe holds. Rows of results keep the one that held when they came.';
COMMENT ON COLUMN probes.vantage_asn IS 'The AS that the rows are of: seen or declared, as asn_source says.';
COMMENT ON COLUMN probes.vantage_country IS 'The country that the rows are of: seen or declared, as country_source says.';
COMMENT ON COLUMN probes.declared_asn IS 'What whoever made the token said.';
COMMENT ON COLUMN probes.seen_asn IS 'What the table of networks says of the address that the probe came from; NULL = nothing, or there is no such table.';
COMMENT ON COLUMN probes.declared_country IS 'What whoever made the token said.';
COMMENT ON COLUMN probes.seen_country IS 'As seen_asn.';
COMMENT ON COLUMN probes.asn_source IS 'seen or declared; NULL = not known.';
COMMENT ON COLUMN probes.country_source IS 'seen or declared; NULL = not known.';

ALTER TABLE sessions ADD COLUMN address VARCHAR;
COMMENT ON COLUMN sessions.address IS 'The address that the probe came from at a connect, as the coordinator sees it: behind a translator that of the translator.';

CREATE TABLE network_tables (
    read_at TIMESTAMP NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR,
    modified_at TIMESTAMP,
    ranges UBIGINT,
    findings VARCHAR
);
COMMENT ON TABLE network_tables IS 'Files of networks that were read: taken, or refused with findings. The newest taken row of a path is in force.';
COMMENT ON COLUMN network_tables.read_at IS 'When it was read.';
COMMENT ON COLUMN network_tables.path IS 'The file; where several were refused together, all of them.';
COMMENT ON COLUMN network_tables.sha256 IS 'Of the file; NULL = it was refused.';
COMMENT ON COLUMN network_tables.findings IS 'What was wrong, a line each; NULL = it was taken.';
COMMENT ON COLUMN network_tables.ranges IS 'Ranges in it (nodes of an MMDB file); NULL = it was refused.';
COMMENT ON COLUMN network_tables.modified_at IS 'The date of the file.';

CREATE VIEW vantages AS
SELECT
    probe_id,
    name AS vantage,
    vantage_asn,
    asn_source,
    declared_asn,
    seen_asn,
    vantage_country,
    country_source,
    declared_country,
    seen_country,
    coalesce(declared_asn <> seen_asn, FALSE) AS asn_differs,
    coalesce(declared_country <> seen_country, FALSE) AS country_differs,
    state,
    recorded_at AS since
FROM probes
QUALIFY row_number() OVER (PARTITION BY probe_id ORDER BY recorded_at DESC, rowid DESC) = 1;
COMMENT ON VIEW vantages IS 'Each probe as it is known now: what was declared, what is seen, which of both its rows are stamped with, and where they differ.';
COMMENT ON COLUMN vantages.probe_id IS 'Given at enrolment.';
COMMENT ON COLUMN vantages.vantage IS 'Short name, as in cells.';
COMMENT ON COLUMN vantages.vantage_asn IS 'The AS that its rows are stamped with.';
COMMENT ON COLUMN vantages.asn_source IS 'seen or declared; NULL = not known.';
COMMENT ON COLUMN vantages.declared_asn IS 'What whoever made the token said.';
COMMENT ON COLUMN vantages.seen_asn IS 'What the table of networks says of the address that it comes from.';
COMMENT ON COLUMN vantages.vantage_country IS 'The country that its rows are stamped with.';
COMMENT ON COLUMN vantages.country_source IS 'seen or declared; NULL = not known.';
COMMENT ON COLUMN vantages.declared_country IS 'What whoever made the token said.';
COMMENT ON COLUMN vantages.seen_country IS 'As seen_asn.';
COMMENT ON COLUMN vantages.asn_differs IS 'Both are known and are not the same.';
COMMENT ON COLUMN vantages.country_differs IS 'Both are known and are not the same.';
COMMENT ON COLUMN vantages.state IS 'enrolled, quarantined or revoked.';
COMMENT ON COLUMN vantages.since IS 'From when on all of this is so.';
