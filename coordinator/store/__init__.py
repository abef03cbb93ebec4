"""The one writer of the database, and its migrations."""
