"""The schema of the store, as numbered migrations that only go forward."""
