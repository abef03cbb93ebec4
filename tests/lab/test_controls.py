"""Every control as a whole chain: configuration, signed plan, probe process, spool, store.

A real coordinator and a real probe on the loopback of the sandbox, where name servers may have the
usual port. The name of a sound service is broken on purpose: its resolver forgets it, while the zone's
own server and another resolver still have it, and the service goes on answering where it was.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.flags
import pytest

from tests.coordinator.test_end_to_end import enrolled, measuring
from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.dns_server import Behaviour, reply, zone
from tests.fakes.tls_authority import make_authority

pytestmark = pytest.mark.lab

NAME, NEUTRAL, SERVICE = "www.x.test", "neutral.example", "127.0.0.21"
RESOLVER, PUBLIC, AUTHORITY = "127.0.0.11", "127.0.0.12", "127.0.0.13"
ZONE = {"x__test": ["900 NS ns1.x.test."], "ns1__x__test": [f"900 A {AUTHORITY}"]}
WHOLE = {**ZONE, "www__x__test": [f"60 A {SERVICE}"]}
COMPONENT = """
[judging]
bin_s = 1
provisional_s = 2
[defaults]
interval_s = 1
timeout_s = 1
[limits]
per_target_per_minute = 60
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "tls://{name}:{port}"
kinds = ["tls", "dns"]
trace = false
remembered = true
public_resolvers = ["{public}"]
authoritative = true
neutral_sni = "{neutral}"
second_port = {second}
"""
PROBE = """
allow_networks = ["127.0.0.0/8"]
resolvers = ["{resolver}"]
ca_file = "{ca_file}"
[limits]
checks_per_s = 1000.0
per_target_per_minute = 6000.0
"""


@dataclass(slots=True)
class World:
    """A service on two ports, and what the resolver says of its name."""

    port: int
    second_port: int
    ca_file: Path
    said: set[str | None] = field(default_factory=set)  # names in handshakes
    resolver: Behaviour = field(default_factory=lambda: zone(**WHOLE))


class _NameServer(asyncio.DatagramProtocol):
    """Answers by whatever behaviour it is given now."""

    def __init__(self, behave: Callable[[bytes], bytes]) -> None:
        self._behave = behave

    def connection_made(self, transport: Any) -> None:
        """Kept for the answers."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """One query, one answer."""
        self._transport.sendto(self._behave(data), addr)


@asynccontextmanager
async def a_world(path: Path) -> AsyncIterator[World]:
    """Three name servers at port 53, and the service with a certificate of its name."""
    loop = asyncio.get_running_loop()
    authority = make_authority(path)
    context = authority.leaf(NAME).context()
    servers = [
        await asyncio.start_server(lambda _r, writer: writer.close(), SERVICE, 0, ssl=secured)
        for secured in (context, None)
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    world = World(ports[0], ports[1], authority.ca_file)

    def hear(_sock: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        world.said.add(name)

    context.sni_callback = hear
    behaviours: dict[str, Callable[[bytes], bytes]] = {
        RESOLVER: lambda query: world.resolver(query, 1)[0],
        PUBLIC: lambda query: zone(**WHOLE)(query, 1)[0],
        AUTHORITY: lambda query: reply(query, f"{NAME} 60 A {SERVICE}", flags=dns.flags.AA),
    }
    transports = [
        (
            await loop.create_datagram_endpoint(
                lambda behave=behave: _NameServer(behave), local_addr=(address, 53)
            )
        )[0]
        for address, behave in behaviours.items()
    ]
    try:
        yield world
    finally:
        for transport in transports:
            transport.close()
        for server in servers:
            server.close()


def config_of(world: World) -> str:
    """A component with every control."""
    return CONFIG.split("[[service]]", maxsplit=1)[0] + COMPONENT.format(
        name=NAME,
        port=world.port,
        public=PUBLIC,
        neutral=NEUTRAL,
        second=world.second_port,
    )


def counted(house: House, where: str) -> int:
    """Rows of the store."""
    ((count,),) = house.ask(f"SELECT count(*) FROM results WHERE {where}")  # noqa: S608  # ours
    return int(count)


async def until(house: House, *conditions: str) -> None:
    """Wait until there is a row for each of these."""
    async with asyncio.timeout(60):
        for where in conditions:
            while not await asyncio.to_thread(counted, house, where):
                await house.runtime.store.run_in_store(lambda _: None)


GOOD = "failure IS NULL AND sent = 1 AND trigger = 'schedule' AND control"


def test_a_name_that_breaks_is_told_from_its_service_in_the_store(tmp_path: Path) -> None:
    """The own checks fail at the name; every control arrives under its word, and places the failure."""

    async def scenario() -> None:
        async with (
            a_world(tmp_path) as world,
            a_coordinator(tmp_path, config=config_of(world)) as house,
        ):
            state = tmp_path / "probe"
            await enrolled(house, state)
            probe_toml = PROBE.format(resolver=RESOLVER, ca_file=world.ca_file)
            (state / "probe.toml").write_text(probe_toml, encoding="utf-8")
            with measuring(state):
                words = ("public_resolver", "authoritative", "neutral_sni", "second_port")
                await until(
                    house,
                    *(f"{GOOD} = '{word}'" for word in words),
                    *(f"{GOOD} IS NULL AND kind = '{kind}'" for kind in ("tls", "dns")),
                )
                assert counted(house, "control = 'remembered'") == 0
                before = house.ask("SELECT max(slot_at) FROM results")[0][0]
                world.resolver = zone(**ZONE)
                later = f"slot_at > TIMESTAMPTZ '{before}'"
                await until(
                    house,
                    "control = 'remembered'",
                    "control IS NULL AND kind = 'dns' AND failure = 'dns_nxdomain'",
                    f"{later} AND {GOOD} = 'public_resolver'",
                    f"{later} AND {GOOD} = 'authoritative'",
                )
            check_the_rows(house, world)

    asyncio.run(scenario())


def check_the_rows(house: House, world: World) -> None:
    """What the store says of each control."""
    assert house.ask(
        "SELECT DISTINCT check_id, kind, trigger, failure, address, port, dns_rcode"
        " FROM results WHERE control = 'remembered'"
    ) == [("x/web/tls/4/remembered", "tls", "failure", None, SERVICE, world.port, 3)]
    # It belongs to a slot of an own check that failed at the name.
    assert house.ask(
        "SELECT bool_and(f.operation = 'resolve' OR f.kind = 'dns') FROM results r JOIN results f"
        " USING (probe_id, slot_at) WHERE r.control = 'remembered' AND f.control IS NULL"
        " AND f.trigger = 'schedule'"
    ) == [(True,)]
    assert house.ask(
        "SELECT DISTINCT control, kind, address, port FROM results WHERE failure IS NULL AND sent = 1"
        " AND control IS NOT NULL AND control <> 'remembered' ORDER BY control::VARCHAR"
    ) == [
        ("authoritative", "dns", AUTHORITY, 53),
        ("neutral_sni", "tls", SERVICE, world.port),
        ("public_resolver", "dns", PUBLIC, 53),
        ("second_port", "tcp", SERVICE, world.second_port),
    ]
    assert world.said == {NAME, NEUTRAL}
    assert house.ask("SELECT count(*) FROM rejects") == [(0,)]
    assert house.ask("SELECT count(*) FROM results WHERE validity = 'probe_fault'") == [(0,)]
