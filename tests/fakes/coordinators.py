"""A whole real coordinator on loopback, in this process, and the ways a test gets into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.app import Launch, coordinator
from coordinator.core.registry import Vantage
from coordinator.rpc.operator import Operator
from coordinator.runtime import Runtime
from tests.fakes.coordinator_store import ask
from tests.fakes.fleet_client import Credentials, enrol

CONFIG = """
[coordinator]
fleet = "127.0.0.1:0"
enrol = "127.0.0.1:0"
web = ""
[[service]]
name = "x"
[[service.component]]
name = "spaces"
url = "https://spaces.x.test/live"
trace = false
remembered = false
"""


@dataclass(frozen=True, slots=True)
class House:
    """A running coordinator with what a client must know of it."""

    runtime: Runtime
    config_file: Path

    @property
    def fleet(self) -> str:
        """Address of the fleet door."""
        return self.runtime.addresses["fleet"]

    @property
    def enrol_door(self) -> str:
        """Address of the enrolment door."""
        return self.runtime.addresses["enrol"]

    @property
    def ca(self) -> bytes:
        """The CA's certificate."""
        return self.runtime.authority.certificate_pem

    @property
    def operator(self) -> Operator:
        """The operator, over the socket."""
        return Operator(self.runtime.data_dir / "admin.sock")

    async def token(self, *, name: str = "", **fields: Any) -> str:
        """A token for one probe."""
        vantage = Vantage(**{"asn": 64512, "country": "DE", **fields})
        made = await self.operator.create_token(name=name, vantage=vantage, ttl_s=3600)
        return str(made["token"])

    async def probe(self, **fields: Any) -> Credentials:
        """An enrolled probe."""
        return await enrol(self.enrol_door, await self.token(**fields), self.ca)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Read from the store."""
        return ask(self.runtime.store, sql)

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Read from the store, by column."""
        with self.runtime.store.cursor() as cursor:
            found = cursor.execute(sql)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    async def until(self, sql: str, expected: list[tuple[Any, ...]]) -> None:
        """Wait until the store answers so: rows beside results come with the next commit."""
        async with asyncio.timeout(60):
            while await asyncio.to_thread(self.ask, sql) != expected:
                await self.runtime.store.run_in_store(lambda _: None)


@asynccontextmanager
async def a_coordinator(path: Path, *, config: str = CONFIG, **launch: Any) -> AsyncIterator[House]:
    """A coordinator in `path`, ready; `launch` are fields of Launch."""
    config_file = path / "soundings.toml"
    config_file.write_text(config, encoding="utf-8")
    async with coordinator(
        Launch(config_file=config_file, data_dir=path / "d", **launch)
    ) as runtime:
        yield House(runtime, config_file)
