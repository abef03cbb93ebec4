"""Files that stay as they are while somebody copies them, and commits go on.

Copying a file that is being written gives neither the one state nor the other; copying the database
by a query costs as much as inserting it all again, and keeps a transaction open for minutes. DuckDB
changes what a file says at a checkpoint alone: between two of them commits go into the log beside it
(a large one may fill free blocks of the file, which nothing in it refers to). So the store is
checkpointed, further checkpoints are put off, and the file alone, without the log, is everything that
was committed up to then for as long as that holds. Who copies compares the file's headers afterwards:
a checkpoint that came all the same, because the store had to be opened anew, shows there.

The copying is done by another process: closing any descriptor of a locked file in this one would drop
the lock by which two coordinators are kept from one file (fcntl(2)).
"""

from __future__ import annotations

from typing import Final

import duckdb

from coordinator.store.open import WAL_LIMIT

NEVER: Final = "1TB"
"""The size of a log at which a store that is held is checkpointed."""

HEADER_BYTES: Final = 3 * 4096
"""The main header of a file and its two database headers, one of which every checkpoint rewrites."""


def hold_still(con: duckdb.DuckDBPyConnection) -> None:
    """Checkpoint, and put off every further one. Runs inside `Store.run_in_store`, as do all.

    A checkpoint cannot be made inside a transaction, so the one around it is ended first: nothing
    was done in it yet.
    """
    con.execute("COMMIT")
    try:
        con.execute("CHECKPOINT")
        con.execute(f"SET GLOBAL wal_autocheckpoint = '{NEVER}'")
    finally:
        con.execute("BEGIN TRANSACTION")


def let_go(con: duckdb.DuckDBPyConnection) -> None:
    """Checkpoints are made again as the log grows."""
    con.execute(f"SET GLOBAL wal_autocheckpoint = '{WAL_LIMIT}'")
