"""The data directory: made, checked, and held by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.exits import CoordinatorError, Exit

UNFINISHED: Final = "restoring"
"""A folder that is there while a restore is not through: what lies beside it is no store yet."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """The places in a data directory."""

    path: Path

    @property
    def store(self) -> Path:
        """Results, cells, verdicts."""
        return self.path / "soundings.duckdb"

    @property
    def registry(self) -> Path:
        """Tokens and probes."""
        return self.path / "registry.duckdb"

    @property
    def authority(self) -> Path:
        """The CA's key and certificate."""
        return self.path / "ca"

    @property
    def admin(self) -> Path:
        """The operator's socket."""
        return self.path / "admin.sock"


@contextmanager
def hold(path: Path, *, unfinished: bool = False) -> Iterator[DataDir]:
    """Make the directory if need be and hold it until the end.

    Raises CoordinatorError when it cannot be used, another coordinator holds it, or a restore into it
    did not finish and it is not `unfinished` that is asked for.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "coordinator.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CoordinatorError(
            f"{path}: the data directory cannot be used ({error.strerror}); name a directory that "
            f"this user may write with --data",
            code=Exit.DATA_UNUSABLE,
        ) from error
    try:
        _lock(lock, path)
        if not unfinished and (path / UNFINISHED).exists():
            raise CoordinatorError(
                f"{path}: a restore into it did not finish; empty the directory and restore again",
                code=Exit.DATA_UNUSABLE,
            )
        yield DataDir(path)
    finally:
        os.close(lock)


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise CoordinatorError(
            f"{path}: another coordinator (pid {owner or 'unknown'}) uses this data directory; "
            f"stop it, or name another --data",
            code=Exit.DATA_UNUSABLE,
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
