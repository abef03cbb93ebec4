"""The control that asks a zone's own name servers, against servers on several loopback addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import dns.flags
import dns.message
import pytest
import trio

from probe.core.outcome import Outcome
from probe.io.box import Toolbox
from probe.toolbox import run_check
from proto.model import Control, Failure, Kind, Reason, State
from tests.fakes.boxes import A_MORNING_US, loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import Behaviour, DnsServer, dns_server, says, silence, zone

NAME = "www.example.test"
GOOD = says(f"{NAME} 60 A 1.1.1.1", flags=dns.flags.AA)
LAME = says(rcode=5)
SLOT_US = 30_000_000
DELEGATED: dict[str, Sequence[str]] = {
    "www__example__test": ["60 A 1.1.1.1"],
    "example__test": ["900 NS ns1.example.test.", "900 NS ns2.else.test."],
    "ns1__example__test": ["900 A 127.0.0.11"],
    "ns2__else__test": ["900 A 127.0.0.12", "900 A 127.0.0.13"],
}
SERVERS = ("127.0.0.11", "127.0.0.12", "127.0.0.13")


@dataclass(frozen=True, slots=True)
class World:
    """A resolver, the zone's servers on one port, and a probe's toolbox among them."""

    resolver: DnsServer
    servers: dict[str, DnsServer]
    port: int
    box: Toolbox
    now_us: list[int]

    async def run(self, slot: int = 0, **fields: Any) -> Outcome:
        """The check of this slot."""
        given = {"host": NAME, "port": self.port, "interval_s": 30.0, **fields}
        asked = check(Kind.DNS, control=Control.AUTHORITATIVE, **given)
        self.now_us[0] = A_MORNING_US + slot * SLOT_US
        return await run_check(asked, replace(self.box, slot_at_us=self.now_us[0]))


@asynccontextmanager
async def world(
    *behaviours: Behaviour, resolver: Behaviour | None = None, **fields: Any
) -> AsyncIterator[World]:
    """Servers that behave so at the addresses of `SERVERS`; with none, nobody is there."""
    now_us = [A_MORNING_US]
    async with AsyncExitStack() as stack:
        asked = await stack.enter_async_context(dns_server(resolver or zone(**DELEGATED)))
        port, servers = 0, {}
        for address, behaviour in zip(SERVERS, behaviours, strict=False):
            made = dns_server(behaviour, address=address, port=port)
            servers[address] = await stack.enter_async_context(made)
            port = servers[address].port
        given = {"resolvers": (asked.endpoint,), "wall": lambda: now_us[0], **fields}
        box = await stack.enter_async_context(loopback_box(**given))
        yield World(asked, servers, port or 1, box, now_us)


async def test_each_slot_asks_the_next_of_the_zones_servers() -> None:
    """All addresses of all servers in as many slots, one query each, and the row says which."""
    async with world(GOOD, GOOD, GOOD) as here:
        rows = [(await here.run(slot)).result for slot in range(6)]
        asked = [len(server.udp_queries) for server in here.servers.values()]
        query = dns.message.from_wire(here.servers[SERVERS[0]].udp_queries[0])
    assert [row.failure for row in rows] == [None] * 6
    assert {row.address for row in rows[:3]} == set(SERVERS)
    assert [row.address for row in rows[:3]] == [row.address for row in rows[3:]]
    assert asked == [2, 2, 2]
    assert query.flags == 0
    assert {(row.dns_flags, row.answers, row.port) for row in rows} == {
        ("aa", "1.1.1.1", here.port)
    }


async def test_the_zone_is_looked_for_once_per_time_to_live() -> None:
    """Four questions to the vantage's resolver, then none until the list is old."""
    async with world(GOOD, GOOD, GOOD) as here:
        for slot in range(3):
            await here.run(slot)
        first = len(here.resolver.udp_queries)
        await here.run(slot=31)
        second = len(here.resolver.udp_queries)
    assert (first, second) == (4, 8)


async def test_a_page_shows_the_way_to_the_server() -> None:
    """The questions to the resolver first, then whose turn it was."""
    async with world(GOOD, GOOD, GOOD) as here:
        outcome = await here.run()
    *search, asked = [step.detail for step in outcome.attempts]
    assert search[:2] == [
        "NS of www.example.test: none",
        "NS of example.test: ns1.example.test ns2.else.test",
    ]
    assert sorted(search[2:]) == [
        "A of ns1.example.test: 127.0.0.11",
        "A of ns2.else.test: 127.0.0.12 127.0.0.13",
    ]
    assert asked.endswith("one of 3 for example.test")


async def test_a_lame_server_is_seen_as_one() -> None:
    """REFUSED from one of three: its slots fail with its address, the others are good."""
    async with world(GOOD, LAME, GOOD) as here:
        rows = [(await here.run(slot)).result for slot in range(3)]
    assert {row.address: row.failure for row in rows} == {
        SERVERS[0]: None,
        SERVERS[1]: Failure.DNS_REFUSED,
        SERVERS[2]: None,
    }
    assert {row.dns_rcode for row in rows} == {0, 5}


async def test_a_silent_server_is_a_timeout_of_that_server() -> None:
    """The row names who was silent; what the search took does not shorten its chance."""
    async with world(silence, GOOD, GOOD) as here:
        rows = [(await here.run(slot, timeout_s=0.4)).result for slot in range(3)]
    failed = {row.address: row.failure for row in rows if row.failure is not None}
    assert failed == {SERVERS[0]: Failure.DNS_TIMEOUT}


@pytest.mark.parametrize("flags", [dns.flags.AA, 0])
async def test_an_alias_is_its_zones_answer(flags: int) -> None:
    """The server that owns the name said where it leads; from another it would be no answer."""
    alias = says(f"{NAME} 60 CNAME edge.cdn.test.", flags=flags)
    async with world(alias, alias, alias) as here:
        row = (await here.run()).result
    assert row.answers == ("edge.cdn.test" if flags else None)
    assert row.failure is (None if flags else Failure.DNS_NODATA)
    assert row.dns_ttl_s == 60


async def test_an_alias_has_no_name_servers_of_its_own() -> None:
    """Those of the zone it leads to are not those of the name."""
    known = dict(DELEGATED)
    known["www__example__test"] = ["60 CNAME cdn.test."]
    known["cdn__test"] = ["60 NS ns.cdn.test."]

    def resolver(query: bytes, number: int) -> Sequence[bytes]:
        (question,) = dns.message.from_wire(query).question
        if question.name.to_text() == f"{NAME}.":
            return says(f"{NAME} 60 CNAME cdn.test.", "cdn.test 60 NS ns.cdn.test.")(query, number)
        return zone(**known)(query, number)

    async with world(GOOD, GOOD, GOOD, resolver=resolver) as here:
        outcome = await here.run()
    assert outcome.result.failure is None
    assert outcome.attempts[-1].detail.endswith("for example.test")


async def test_a_list_that_cannot_be_renewed_is_used_on() -> None:
    """When the resolvers fail, the zone's servers are still asked: that is when it matters."""
    broken = [False]

    def resolver(query: bytes, number: int) -> Sequence[bytes]:
        return (says(rcode=2) if broken[0] else zone(**DELEGATED))(query, number)

    async with world(GOOD, GOOD, GOOD, resolver=resolver) as here:
        await here.run()
        broken[0] = True
        hour_later = await here.run(slot=120)
        two_days_later = (await here.run(slot=2880 * 2)).result
    assert hour_later.result.failure is None
    assert hour_later.attempts[0].detail == "NS of www.example.test: none"
    assert (two_days_later.state, two_days_later.reason) == (State.NOT_RUN, Reason.UNSUPPORTED)


@pytest.mark.parametrize(
    ("resolver", "why"),
    [
        (says(rcode=2), "no resolver of this vantage says who serves www.example.test"),
        (says(rcode=3), "example.test does not exist, so no zone holds www.example.test"),
        (
            zone(example__test=["60 NS ns.gone.test."]),
            "no name server of example.test has an address that this vantage can contact",
        ),
    ],
)
async def test_without_known_servers_nothing_is_run(resolver: Behaviour, why: str) -> None:
    """A search that fails says nothing about the zone's servers, so the row does not either."""
    async with world(resolver=resolver) as here:
        outcome = await here.run()
    row = outcome.result
    assert (row.state, row.reason, row.failure) == (State.NOT_RUN, Reason.UNSUPPORTED, None)
    assert outcome.attempts[-1].detail == why


async def test_a_zone_cannot_send_the_probe_inside() -> None:
    """A name server's address is judged like any target's: barred ones are left out."""
    known = dict(DELEGATED)
    known["ns1__example__test"] = ["900 A 10.0.0.1"]
    async with world(GOOD, GOOD, GOOD, resolver=zone(**known)) as here:
        rows = [(await here.run(slot)).result for slot in range(4)]
    assert {row.address for row in rows} == set(SERVERS[1:])
    inside = {**known, "ns2__else__test": ["900 A 169.254.169.254"]}
    async with world(GOOD, resolver=zone(**inside)) as here:
        outcome = await here.run()
    assert outcome.result.reason is Reason.UNSUPPORTED
    assert "allow_networks" in outcome.attempts[-1].detail


async def test_a_server_of_the_other_family_is_asked_where_there_is_none() -> None:
    """A zone without IPv6 servers is asked for its IPv6 addresses over IPv4."""
    answer = says(f"{NAME} 60 AAAA 2606:4700::1", flags=dns.flags.AA)
    async with world(answer, answer, answer) as here:
        row = (await here.run(family=6, qtype="AAAA")).result
    assert (row.failure, row.answers, row.family) == (None, "2606:4700::1", 6)
    assert row.address in SERVERS


async def test_the_rate_per_address_holds_for_zone_servers() -> None:
    """A server that was contacted too often is not asked in its turn, nor another instead."""
    async with world(GOOD, GOOD, GOOD) as here:
        box = replace(here.box, may_contact=lambda _at: False)
        row = (await replace(here, box=box).run()).result
        asked = sum(len(server.udp_queries) for server in here.servers.values())
    assert (row.state, row.reason, asked) == (State.NOT_RUN, Reason.POLICY, 0)


async def test_a_slow_search_leaves_the_server_its_time() -> None:
    """The search gets half of the time: a slot in which it found nobody is not run."""
    async with world(GOOD, GOOD, GOOD, resolver=silence) as here:
        started = trio.current_time()
        row = (await here.run(timeout_s=0.4)).result
    assert row.reason is Reason.UNSUPPORTED
    assert trio.current_time() - started < 0.4


async def test_a_kept_list_is_judged_anew_before_each_contact() -> None:
    """A server that the policy bars since the search is not asked, the others are."""
    async with world(GOOD, GOOD, GOOD) as here:
        await here.run()
        async with loopback_box(allow_networks=()) as strict:
            barred = replace(strict, delegations=here.box.delegations)
            outcome = await replace(here, box=barred).run(slot=1)
        asked = sum(len(server.udp_queries) for server in here.servers.values())
    assert (outcome.result.state, outcome.result.reason) == (State.NOT_RUN, Reason.POLICY)
    assert asked == 1


async def test_a_search_that_fails_is_not_repeated_in_the_next_slot() -> None:
    """A name whose parent does not exist costs two questions a minute, however deep it is."""
    async with world(resolver=says(rcode=3)) as here:
        rows = [(await here.run(slot, host="a.b.c.d.test")).result for slot in range(2)]
        asked = len(here.resolver.udp_queries)
    assert [row.reason for row in rows] == [Reason.UNSUPPORTED] * 2
    assert asked == 2
