"""A directory in memory that fills up, tears writes and loses files on command."""

from __future__ import annotations

import errno
import os


class MemoryDisk:
    """The Disk protocol with a capacity in bytes; a write that does not fit is torn, as on a disk."""

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.capacity = capacity
        self.files: dict[str, bytes] = {}
        self.closed = False

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return self.files[name]

    def append(self, name: str, data: bytes) -> None:
        free = max(0, self.capacity - self.used)
        self.files[name] = self.files.get(name, b"") + data[:free]
        if len(data) > free:
            raise OSError(errno.ENOSPC, "No space left on device", name)

    def truncate(self, name: str, size: int) -> None:
        self.files[name] = self.read(name)[:size]

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        content = self.read(old)
        self.remove(old)
        self.files[new] = content

    def create(self, name: str) -> None:
        self.files.setdefault(name, b"")

    def close(self) -> None:
        self.closed = True


class StubbornDisk(MemoryDisk):
    """One that can neither truncate nor unlink nor rename: a file system gone read-only."""

    def __init__(self, capacity: int = 1 << 30) -> None:
        super().__init__(capacity)
        self.stubborn = False

    def truncate(self, name: str, size: int) -> None:
        self._refuse(name)
        super().truncate(name, size)

    def remove(self, name: str) -> None:
        self._refuse(name)
        super().remove(name)

    def rename(self, old: str, new: str) -> None:
        self._refuse(old)
        super().rename(old, new)

    def create(self, name: str) -> None:
        self._refuse(name)
        super().create(name)

    def names(self) -> list[str]:
        if self.stubborn:
            raise OSError(errno.EIO, "Input/output error")
        return super().names()

    def _refuse(self, name: str) -> None:
        if self.stubborn:
            raise OSError(errno.EROFS, "Read-only file system", name)


class TroubledDisk(MemoryDisk):
    """One whose files cannot be opened for a while, for these errnos; 0 = they can."""

    def __init__(self) -> None:
        super().__init__()
        self.appends = 0
        self.reads = 0

    def append(self, name: str, data: bytes) -> None:
        self._fail(self.appends, name)
        super().append(name, data)

    def read(self, name: str) -> bytes:
        self._fail(self.reads, name)
        return super().read(name)

    def _fail(self, number: int, name: str) -> None:
        if number:
            raise OSError(number, os.strerror(number), name)
