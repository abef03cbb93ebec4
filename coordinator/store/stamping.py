"""What a restore writes into the files it brought back, before anybody uses them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from analysis.store import upgrade
from coordinator.store.open import connect, told_of
from coordinator.store.statements import statement

CHECKS_SET_ASIDE: Final = 4096
"""Numbers of checks that a restore passes over: more than anybody adds between two backups. Tables of
what a probe may report are as long as the highest number, so it cannot be without end."""


def bring_up(path: Path) -> None:
    """Bring a copy to the newest schema; what it was copied from is the file before.

    Raises StoreOpenError, or SchemaError when it cannot be done.
    """
    with told_of(path):
        done = upgrade(path)
    if done is not None:
        done.kept.unlink()


def stamp_restore(path: Path, *, backup_at_us: int, restored_at_us: int, manifest: str) -> None:
    """Record the restore, and above which numbers new checks and plans begin.

    Plans go on above the second of the restore: numbers grow by one for each new content, and by a
    hundred for each start, so none that was given before can be as high. Raises StoreOpenError.
    """
    values = {
        "restored_at_us": restored_at_us,
        "backup_at_us": backup_at_us,
        "checks_set_aside": CHECKS_SET_ASIDE,
        "plan_version_floor": restored_at_us // 1_000_000,
        "manifest_sha256": hashlib.sha256(manifest.encode()).hexdigest(),
    }
    with told_of(path), connect(path) as con:
        con.execute(statement("insert_restore"), values)
        con.execute("CHECKPOINT")


def withdraw_tokens(path: Path, *, at_us: int) -> int:
    """End every token that is not known to have been used; how many there were. Raises StoreOpenError."""
    with told_of(path), connect(path) as con:
        ended = con.execute(statement("withdraw_tokens"), {"at_us": at_us}).fetchall()
        con.execute("CHECKPOINT")
    return int(ended[0][0])
