"""The tables of networks in force: read beside the event loop, and read anew when a file changes.

Files are looked at every few seconds (time, size, inode) and after each change of the configuration. A
file that is no good changes nothing: the tables before it stay in force, and what was wrong is logged
and recorded. At a start there is nothing before it, and the start fails with every finding.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import structlog

from coordinator.core.networks import Lookup, Place, look_up
from coordinator.core.ranges import UnfitFileError
from coordinator.core.settings import Config
from coordinator.mmdb import open_mmdb
from coordinator.store.networks import Provenance, read_networks, record_networks
from coordinator.store.writer import Store
from proto.model import ConfigError

LOOK_S: Final = 5.0
"""How often the files are looked at: they change once a day."""

HASH_BYTES: Final = 1 << 20

Footprint = tuple[object, ...]


class Table(Lookup, Protocol):
    """A file of networks in memory."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Read:
    """A file as it was read."""

    table: Table
    provenance: Provenance


def read_file(path: Path, *, read_at_us: int) -> Read:
    """Read one file, whatever its format. Raises UnfitFileError."""
    try:
        facts = path.stat()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        fix = "name a readable file"
        raise UnfitFileError([f"it is not readable ({error.strerror}); {fix}"]) from error
    table: Table = open_mmdb(path) if path.suffix == ".mmdb" else read_networks(path)
    provenance = Provenance(
        path=str(path),
        sha256=digest,
        modified_at_us=facts.st_mtime_ns // 1000,
        read_at_us=read_at_us,
        ranges=len(table),
    )
    return Read(table, provenance)


def read_files(paths: tuple[Path, ...], *, read_at_us: int) -> tuple[Read, ...]:
    """Read all of them. Raises ConfigError with every finding of every file."""
    read, findings = [], []
    for path in paths:
        try:
            read.append(read_file(path, read_at_us=read_at_us))
        except UnfitFileError as error:
            findings += [f"{path}: {finding}" for finding in error.findings]
    if findings:
        raise ConfigError(tuple(findings))
    return tuple(read)


def network_files(config_file: Path, config: Config) -> tuple[Path, ...]:
    """The files that `[networks]` names; a path that is not absolute begins where the file lies."""
    return tuple(config_file.parent / name for name in config.networks.files)


class NetworkFiles:
    """`paths` gives the files that the configuration in force names."""

    def __init__(
        self, paths: Callable[[], tuple[Path, ...]], store: Store, *, wall: Callable[[], int]
    ) -> None:
        self._paths = paths
        self._store = store
        self._wall = wall
        self._tables: tuple[Table, ...] = ()
        self._footprint: Footprint = ()
        self._asked = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._log = structlog.get_logger("networks")

    def find(self, address: str) -> Place | None:
        """What the tables in force say of an address; None = nothing."""
        return look_up(self._tables, address)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop after every change."""
        self._listeners.append(listener)

    def look(self) -> None:
        """Look at the files now: the configuration changed."""
        self._asked.set()

    async def start(self) -> None:
        """Read the files for the first time. Raises ConfigError with every finding."""
        self._footprint = await asyncio.to_thread(_footprint, self._paths())
        await self._take(self._paths())

    async def watch(self, *, look_s: float = LOOK_S) -> None:
        """Look at the files for ever, and take them when they changed and are good."""
        while True:
            try:
                async with asyncio.timeout(look_s):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            await self.refresh()

    async def refresh(self) -> None:
        """One look."""
        paths = self._paths()
        footprint = await asyncio.to_thread(_footprint, paths)
        if footprint == self._footprint:
            return
        try:
            await self._take(paths)
        except ConfigError as error:
            await self._refuse(paths, error)
        except Exception as error:  # noqa: BLE001 whatever ails the store, the next look tries again
            self._log.error("networks_wait_for_store", error=str(error)[:300])
            return
        self._footprint = footprint

    async def _take(self, paths: tuple[Path, ...]) -> None:
        read = await asyncio.to_thread(partial(read_files, paths, read_at_us=self._wall()))
        for one in read:
            await self._store.run_in_store(partial(record_networks, provenance=one.provenance))
            self._log.info("networks_in_force", path=one.provenance.path, ranges=len(one.table))
        self._tables = tuple(one.table for one in read)
        for listener in self._listeners:
            listener()

    async def _refuse(self, paths: tuple[Path, ...], error: ConfigError) -> None:
        for finding in error.findings:
            self._log.error("networks_refused", finding=finding)
        provenance = Provenance(
            path=", ".join(map(str, paths)),
            sha256=None,
            modified_at_us=None,
            read_at_us=self._wall(),
            ranges=None,
            findings="\n".join(error.findings),
        )
        await self._store.run_in_store(partial(record_networks, provenance=provenance))


def _footprint(paths: tuple[Path, ...]) -> Footprint:
    found: list[object] = []
    for path in paths:
        try:
            facts = path.stat()
        except OSError:
            found.append((path, None))
        else:
            found.append((path, facts.st_mtime_ns, facts.st_size, facts.st_ino))
    return tuple(found)
