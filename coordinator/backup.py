"""A backup: everything that a restore needs, consistent, whole or not there at all.

The files are copied by the command, not by the coordinator, which only keeps them still meanwhile
(coordinator.store.holding). They are copied under another name, read back as a store, described in a
manifest and made durable; then the directory gets its name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from coordinator.copying import Tell, copy_file, head_of, sync_directory, write_file
from coordinator.core.manifest import (
    AUTHORITY,
    CONFIG,
    NAME,
    REGISTRY,
    STORE,
    FileFact,
    Manifest,
    manifest_text,
    secret_of,
)
from coordinator.datadir import DataDir, hold
from coordinator.exits import CoordinatorError, Exit
from coordinator.rpc.operator import NotRunningError, Operator
from coordinator.store.holding import HEADER_BYTES
from coordinator.store.open import StoreOpenError
from coordinator.store.survey import Survey, settle, survey

Begin = Callable[[int], Tell]
"""Told how many bytes there are to copy; gives who is told of each piece."""

MARGIN_BYTES: Final = 64 << 20
"""Room beside the copies: the manifest, and what a file system needs for itself."""


async def make_backup(data: Path, to: Path, *, wall: Callable[[], int], begin: Begin) -> Manifest:
    """Copy a data directory, of a running coordinator or of none, into the new directory `to`.

    Raises CoordinatorError when it cannot be done; then there is no `to`.
    """
    _refuse_names(data, to)
    try:
        with _partial(to) as partial:
            async with _still(DataDir(data), wall=wall) as held_at_us:
                copied = await asyncio.to_thread(_copy_all, DataDir(data), partial, begin)
            return await asyncio.to_thread(_finish, partial, copied, held_at_us)
    except (OSError, StoreOpenError) as error:
        raise CoordinatorError(
            f"{to}: no backup was made ({str(error).splitlines()[0]})", code=Exit.DATA_UNUSABLE
        ) from error


def _refuse_names(data: Path, to: Path) -> None:
    if to.exists() or to.is_symlink():
        raise CoordinatorError(
            f"{to} is there already and a backup overwrites nothing; name another directory",
            code=Exit.USAGE,
        )
    if not DataDir(data).store.exists():
        raise CoordinatorError(
            f"{data}: no coordinator ever used this data directory; name another --data",
            code=Exit.DATA_UNUSABLE,
        )


@asynccontextmanager
async def _still(data: DataDir, *, wall: Callable[[], int]) -> AsyncIterator[int]:
    """The files do not change inside; since when (µs since 1970)."""
    try:
        async with Operator(data.admin).hold() as held_at_us:
            yield held_at_us
    except NotRunningError:
        with hold(data.path):
            held_at_us = wall()
            await asyncio.to_thread(settle, data.store)
            if data.registry.exists():
                await asyncio.to_thread(settle, data.registry)
            yield held_at_us


@contextmanager
def _partial(to: Path) -> Iterator[Path]:
    """A directory beside `to` that becomes it at the end, or is gone."""
    partial = to.with_name(f".{to.name}.partial-{os.getpid()}")
    partial.mkdir(mode=0o700)
    try:
        yield partial
        partial.rename(to)
        sync_directory(to.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def sources(data: DataDir) -> dict[str, Path]:
    """Every file of a data directory that a restore needs, by its path in a backup."""
    found = {STORE: data.store, REGISTRY: data.registry}
    if data.authority.is_dir():
        inside = sorted(path for path in data.authority.iterdir() if path.is_file())
        found |= {f"{AUTHORITY}/{path.name}": path for path in inside}
    return {path: source for path, source in found.items() if source.exists()}


def _copy_all(data: DataDir, partial: Path, begin: Begin) -> list[FileFact]:
    files = sources(data)
    sizes = sum(source.stat().st_size for source in files.values())
    free = shutil.disk_usage(partial).free
    if free < sizes + MARGIN_BYTES:
        raise OSError(f"it needs {(sizes + MARGIN_BYTES) >> 20} MiB, {free >> 20} MiB are free")
    tell = begin(sizes)
    (partial / AUTHORITY).mkdir(mode=0o700)
    facts = []
    for path, source in files.items():
        size, sha256 = copy_file(source, partial / path, tell=tell)
        if path in {STORE, REGISTRY}:
            _compare_heads(source, partial / path)
        facts.append(FileFact(path=path, size=size, sha256=sha256, secret=secret_of(path)))
    _compare_authority(data, partial)
    return facts


def _compare_heads(source: Path, copy: Path) -> None:
    """A checkpoint rewrites a header: what was copied before and after it would not fit together."""
    if head_of(source, HEADER_BYTES) != head_of(copy, HEADER_BYTES):
        raise OSError(f"{source} was opened anew while it was being copied; try again")


def _compare_authority(data: DataDir, partial: Path) -> None:
    """A change of CA writes several files: those before and those after it are no CA together."""
    now = {path: file.read_bytes() for path, file in sources(data).items() if "/" in path}
    copied = {
        f"{AUTHORITY}/{file.name}": file.read_bytes() for file in (partial / AUTHORITY).iterdir()
    }
    if now != copied:
        raise OSError(f"{data.authority} was changed while it was being copied; try again")


def _finish(partial: Path, copied: list[FileFact], held_at_us: int) -> Manifest:
    """Read the copy as a store, and write down what it holds."""
    found = survey(partial / STORE)
    text = found.config_text.encode()
    write_file(partial / CONFIG, text)
    config = FileFact(path=CONFIG, size=len(text), sha256=hashlib.sha256(text).hexdigest())
    manifest = _manifest(found, (*copied, config), held_at_us)
    write_file(partial / NAME, manifest_text(manifest).encode())
    sync_directory(partial / AUTHORITY)
    sync_directory(partial)
    return manifest


def _manifest(found: Survey, files: tuple[FileFact, ...], held_at_us: int) -> Manifest:
    made_at = datetime.fromtimestamp(held_at_us / 1_000_000, UTC)
    return Manifest(
        made_at=made_at.isoformat(timespec="microseconds"),
        made_at_us=held_at_us,
        schema_version=found.schema_version,
        config_version=found.config_version,
        files=files,
        tables=found.tables,
        marks=found.marks,
    )
