-- The definition of each check that holds now: the newest row of its number.
CREATE OR REPLACE TEMP TABLE current_checks AS
SELECT * FROM checks
QUALIFY row_number() OVER (PARTITION BY check_no ORDER BY config_version DESC) = 1
