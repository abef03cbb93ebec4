-- New checks are numbered above this: a restore sets numbers aside.
SELECT coalesce(max(check_no_floor), 0) FROM restores
