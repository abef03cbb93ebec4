"""The data directory: made, checked, and held by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator.exits import CoordinatorError, Exit


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
def hold(path: Path) -> Iterator[DataDir]:
    """Make the directory if need be and hold it until the end.

    Raises CoordinatorError when it cannot be used, or another coordinator holds it.
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
