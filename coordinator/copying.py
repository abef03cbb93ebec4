"""Copy large files without being felt by whoever works on the same disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 4 << 20

FLUSH_BYTES: Final = 32 << 20
"""Written to the disk in pieces: one flush of gigabytes at the end would hold up the flush of every
commit meanwhile, and with it every acknowledgement."""

Tell = Callable[[int], None]
"""Told of every piece that was copied, in bytes."""


def copy_file(source: Path, to: Path, *, tell: Tell = lambda _: None) -> tuple[int, str]:
    """Copy durably into a new file of mode 0600; its size and SHA-256 as read. Raises OSError."""
    digest = hashlib.sha256()
    size = flushed = 0
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        while piece := reader.read(CHUNK_BYTES):
            digest.update(piece)
            writer.write(piece)
            size += len(piece)
            if size - flushed >= FLUSH_BYTES:
                _flush(writer.fileno(), reader.fileno(), flushed, size)
                flushed = size
            tell(len(piece))
        writer.flush()
        os.fsync(writer.fileno())
    return size, digest.hexdigest()


def _flush(writer: int, reader: int, begin: int, end: int) -> None:
    """Onto the disk, and out of the page cache, where others keep what they read often."""
    os.fdatasync(writer)
    for descriptor in (writer, reader):
        os.posix_fadvise(descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)


def write_file(path: Path, data: bytes) -> None:
    """A new file of mode 0600, durable. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def head_of(path: Path, size: int) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(size)
