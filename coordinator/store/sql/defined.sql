-- By check number, the row of checks that holds now.
SELECT check_no, definition_no FROM current_checks
