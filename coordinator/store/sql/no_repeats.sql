-- What find_repeats.sql finds, for the length of one count.
CREATE OR REPLACE TEMP TABLE repeated (
    probe_id VARCHAR,
    check_no UINTEGER,
    slot_at TIMESTAMP,
    family UTINYINT,
    first_row BIGINT
)
