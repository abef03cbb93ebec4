"""The configuration in force: read, validated, recorded, and read anew when its file changes.

The file is looked at once a second (time, size, inode) and on SIGHUP. Looking is cheap, works on
every file system, and sees an editor's rename. A file that does not validate changes nothing: what
is in force stays, and what was wrong is logged and recorded.
"""

from __future__ import annotations

import asyncio
import hashlib
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from coordinator.core.changes import compare
from coordinator.core.settings import Config
from coordinator.core.validation import validate
from coordinator.store.catalogue import Catalogue, Source, accept_config, refuse_config
from coordinator.store.writer import Store
from proto.model import ConfigError

LOOK_S: Final = 1.0
"""How often the file is looked at."""

FILE_BYTES_MAX: Final = 4 << 20
"""Ten thousand checks fit in one; more is another file by mistake."""

FINDINGS_CHARS_MAX: Final = 2000
"""Of a refused file in the log; the table config_versions and the command have all."""


def load_config(
    path: Path, *, loaded_at_us: int, loaded_by: str = "start"
) -> tuple[Config, Source]:
    """Read and validate a configuration file.

    Raises ConfigError with every finding.
    """
    source = read_source(path, loaded_at_us=loaded_at_us, loaded_by=loaded_by)
    return parse_config(source.text, file=str(path)), source


def read_source(path: Path, *, loaded_at_us: int, loaded_by: str) -> Source:
    """Read a configuration file without judging it. Raises ConfigError when it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        text = raw.decode()
    except OSError as error:
        fix = "name a readable file with --config"
        raise ConfigError(
            (f"{path}: the file is not readable ({error.strerror}); {fix}",)
        ) from error
    except UnicodeDecodeError as error:
        fix = "save it as UTF-8"
        raise ConfigError((f"{path}: byte {error.start} is not UTF-8; {fix}",)) from error
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError((f"{path}: the file is over {FILE_BYTES_MAX >> 20} MiB; split it",))
    return Source(text, hashlib.sha256(raw).hexdigest(), loaded_at_us, loaded_by)


def parse_config(text: str, *, file: str) -> Config:
    """Parse and validate. Raises ConfigError with every finding."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{file}: the file is not TOML: {error}; mend that line",)) from error
    return validate(document, file=file)


class Configs:
    """The configuration in force and those who want to hear of another."""

    def __init__(self, path: Path, store: Store, *, wall: Callable[[], int]) -> None:
        self._path = path
        self._store = store
        self._wall = wall
        self._listeners: list[Callable[[Catalogue], None]] = []
        self._catalogue: Catalogue | None = None
        self._refused_sha256: str | None = None
        self._accepted_sha256: str | None = None
        self._log = structlog.get_logger("config")
        self._asked = asyncio.Event()
        self._printed: tuple[object, ...] = ()
        self._owed = False  # a reload failed for the store's sake
        self._turn = asyncio.Lock()  # the file is read by one at a time
        self.findings: tuple[str, ...] = ()  # why the file as it is now is not in force

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def catalogue(self) -> Catalogue:
        """The configuration in force with its version and numbered checks."""
        assert self._catalogue is not None, "start() comes first"
        return self._catalogue

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.catalogue.config

    @property
    def version(self) -> int:
        """Its version: one more for every accepted text."""
        return self.catalogue.version

    def listen(self, listener: Callable[[Catalogue], None]) -> None:
        """Call `listener` on the event loop after every change."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Read the file for the first time. Raises ConfigError with every finding."""
        self._printed = self._footprint()
        config, source = load_config(self._path, loaded_at_us=self._wall())
        await self._accept(config, source)

    def ask(self) -> None:
        """Look at the file now (SIGHUP)."""
        self._asked.set()

    async def watch(self, *, look_s: float = LOOK_S) -> None:
        """Look at the file for ever, and take it when it changed and is good."""
        while True:
            try:
                async with asyncio.timeout(look_s):
                    await self._asked.wait()
            except TimeoutError:
                pass
            asked = self._asked.is_set()
            self._asked.clear()
            footprint = await asyncio.to_thread(self._footprint)
            if asked or self._owed or footprint != self._printed:
                self._printed = footprint
                await self._try_reload(by="signal" if asked else "file")

    async def _try_reload(self, *, by: str) -> None:
        """Reload; while the store is in trouble what is in force stays, and the next look retries."""
        try:
            await self.reload(by=by)
        except Exception as error:  # noqa: BLE001 whatever ails the store, the server goes on
            if not self._owed:
                self._log.error("config_waits_for_store", error=str(error)[:300])
            self._owed = True
        else:
            self._owed = False

    async def reload(self, *, by: str = "file") -> bool:
        """Read the file again; True when what it says is in force now. `by` goes on record.

        A bad file changes nothing but the log and the table config_versions.

        Raises StoreUnavailableError, or the store's own error, when it cannot be taken: nothing changed.
        """
        async with self._turn:
            return await self._reload(by=by)

    async def _reload(self, *, by: str) -> bool:
        source = None
        try:
            source = await asyncio.to_thread(
                read_source, self._path, loaded_at_us=self._wall(), loaded_by=by
            )
            config = parse_config(source.text, file=str(self._path))
        except ConfigError as error:
            await self._refuse(source, error, by=by)
            return False
        if source.sha256 != self._accepted_sha256:
            await self._accept(config, source)
        self._refused_sha256, self.findings = None, ()
        return True

    async def _accept(self, config: Config, source: Source) -> None:
        before = self._catalogue
        self._catalogue = await self._store.run_in_store(
            partial(accept_config, config=config, source=source)
        )
        self._accepted_sha256 = source.sha256
        found = None if before is None else compare(before.config, config, ())
        self._log.info(
            "config_in_force",
            version=self.version,
            by=source.loaded_by,
            checks=len(self._catalogue.definitions),
            added=found and found.count("added"),
            removed=found and found.count("removed"),
            changed=found and found.count("changed"),
        )
        for listener in self._listeners:
            listener(self._catalogue)

    async def _refuse(self, source: Source | None, error: ConfigError, *, by: str) -> None:
        """Said once, or as often as a signal asks: whoever reloads by command has it as the answer."""
        if error.findings != self.findings or by == "signal":
            self._log.error(
                "config_refused",
                in_force=self.version,
                by=by,
                count=len(error.findings),
                findings=" | ".join(error.findings)[:FINDINGS_CHARS_MAX],
            )
        self.findings = error.findings
        if source is not None and source.sha256 != self._refused_sha256:
            await self._store.run_in_store(
                partial(refuse_config, source=source, findings=error.findings)
            )
            self._refused_sha256 = source.sha256

    def _footprint(self) -> tuple[object, ...]:
        try:
            facts = self._path.stat()
        except OSError:
            return ()
        return (facts.st_mtime_ns, facts.st_size, facts.st_ino)
