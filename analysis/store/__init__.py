"""The only package of analysis that talks to DuckDB: SQL counts, the cores judge."""

from analysis.store.asking import Answer, ask_freely
from analysis.store.choosing import Served, served, usual_window
from analysis.store.importing import Imported, import_rows
from analysis.store.judging import adjudicate_store, alarms_store, judge_store
from analysis.store.migrations import (
    SchemaError,
    Upgraded,
    known_migrations,
    migrate,
    upgrade,
    version_of,
)
from analysis.store.opening import (
    Connection,
    StoreError,
    open_in_memory,
    open_to_read,
    open_to_write,
)
from analysis.store.reading import NoSuchServiceError, Window, read_block
from analysis.store.recording import latest_incidents, latest_verdicts

__all__ = [
    "Answer",
    "Connection",
    "Imported",
    "NoSuchServiceError",
    "SchemaError",
    "Served",
    "StoreError",
    "Upgraded",
    "Window",
    "adjudicate_store",
    "alarms_store",
    "ask_freely",
    "import_rows",
    "judge_store",
    "known_migrations",
    "latest_incidents",
    "latest_verdicts",
    "migrate",
    "open_in_memory",
    "open_to_read",
    "open_to_write",
    "read_block",
    "served",
    "upgrade",
    "usual_window",
    "version_of",
]
