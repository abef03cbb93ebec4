"""The only package of analysis that talks to DuckDB: SQL counts, the cores judge."""

from analysis.store.judging import alarms_store, judge_store
from analysis.store.migrations import SchemaError, migrate
from analysis.store.reading import NoSuchServiceError, Window, read_block

__all__ = [
    "NoSuchServiceError",
    "SchemaError",
    "Window",
    "alarms_store",
    "judge_store",
    "migrate",
    "read_block",
]
