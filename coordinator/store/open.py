"""Open the store: created so that older readers can open it, limited so that it cannot eat the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import structlog

from analysis.store import SchemaError, known_migrations, migrate, upgrade, version_of
from coordinator.store.readers import Readers
from proto.model import SoundingsError

STORAGE_VERSION: Final = "v1.5.0"
"""Files of DuckDB 2.0 in its own newest format cannot be read by 1.5, which users still have."""

MEMORY_LIMIT: Final = "1GB"
"""Ingest needs a tenth of it; judging reads one hour at a time."""

IDLE_LIMIT: Final = "128MB"
"""What is kept while nobody reads: the log's rows, 80 MB at most, and the newest blocks of the file. DuckDB
fills MEMORY_LIMIT with blocks that the kernel caches as well, and gives none back by itself."""

TEMP_LIMIT: Final = "4GB"
"""Without it a bad query may spill until the disk is full, and take ingest down with it."""

WAL_LIMIT: Final = "64MB"
"""Log at which the store is checkpointed. A checkpoint rewrites the last row group, begun or not: at
the usual 16 MB that costs as much as all inserting. Larger ones stall acknowledgements for longer."""


class StoreOpenError(SoundingsError):
    """A file of the store cannot be opened: held by another process, damaged, or out of reach."""


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """What DuckDB says of a file, as a StoreOpenError that names it."""
    try:
        yield
    except duckdb.Error as error:
        raise StoreOpenError(f"{path}: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True, slots=True)
class Opened:
    """One open store. Other connections to it are cursors of `root`, which runs nothing itself."""

    root: duckdb.DuckDBPyConnection
    writer: duckdb.DuckDBPyConnection
    readers: Readers

    def trim(self, limit: str = IDLE_LIMIT) -> bool:
        """Drop cached blocks beyond `limit`; False when somebody reads, whose memory it would be, too.

        For the writer's own thread, between two transactions. Takes milliseconds.
        """

        def lower_and_raise() -> None:
            with suppress(duckdb.Error):  # more is in use: what could go has gone
                self.writer.execute(f"SET GLOBAL memory_limit = '{limit}'").fetchall()
            self.writer.execute(f"SET GLOBAL memory_limit = '{MEMORY_LIMIT}'").fetchall()

        return self.readers.run_alone(lower_and_raise)

    def close(self) -> None:
        """Interrupt and await the readers, then close, writer first.

        Raises duckdb.Error when a reader kept its cursor for too long.
        """
        self.readers.end()
        self.writer.close()
        self.root.close()


def open_store(path: Path) -> Opened:
    """Open or create the results store and bring its schema up to date.

    Raises:
        StoreOpenError: another process has it open, or it cannot be read.
        analysis.store.SchemaError: a newer program wrote it, or an older one could not be brought up to date.
    """
    root = connect(path)
    if 0 < version_of(root) < known_migrations()[-1][0]:
        root.close()
        _upgrade(path)
        root = connect(path)
    try:
        migrate(root)
        return Opened(root, root.cursor(), Readers(root))
    except SchemaError as error:
        root.close()
        raise SchemaError(f"{path}: {error}") from error
    except BaseException:
        root.close()
        raise


def _upgrade(path: Path) -> None:
    done = upgrade(path)
    assert done is not None, "it was older a moment ago, and we hold the directory"
    structlog.get_logger("store").warning(
        "store_migrated", from_version=done.before, to_version=done.after, kept=str(done.kept)
    )


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Connect to one of the coordinator's files. Raises StoreOpenError saying why it cannot."""
    try:
        con = duckdb.connect(
            path,
            config={
                "storage_compatibility_version": STORAGE_VERSION,
                "memory_limit": MEMORY_LIMIT,
                "wal_autocheckpoint": WAL_LIMIT,
                "max_temp_directory_size": TEMP_LIMIT,
            },
        )
    except duckdb.Error as error:
        if "could not set lock" in str(error).lower():  # damage is told of a «block»
            raise StoreOpenError(
                f"{path} is open in another process; one coordinator at a time may use a data "
                f"directory, stop the other one or name another --data"
            ) from error
        raise StoreOpenError(f"{path}: {str(error).splitlines()[0]}") from error
    con.execute("SET GLOBAL TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")  # it prints into logs
    return con
