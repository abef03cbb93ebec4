-- The numbers of all checks that are traces, old ones included.
SELECT check_no FROM current_checks WHERE kind = 'trace'
