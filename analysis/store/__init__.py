"""The only package of analysis that talks to DuckDB: SQL counts, the cores judge."""

from analysis.store.migrations import SchemaError, migrate

__all__ = ["SchemaError", "migrate"]
