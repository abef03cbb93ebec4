"""The table `hops`: what traces told, in the transaction of their rows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from coordinator.core.intake import BatchName
from coordinator.store.commit import Fate
from coordinator.store.writer import Store
from proto.model import Hop, Trigger
from tests.fakes.coordinator_store import Fates, a_store, ask, submit
from tests.fakes.reports import NOW_US, SECOND_US, row

AT_US = NOW_US - 10 * SECOND_US
HOPS = (
    Hop(ttl=1, packet=0, router="10.0.0.1", rtt_us=1500, icmp_type=11, icmp_code=0),
    Hop(ttl=2, packet=0),
    Hop(ttl=3, packet=0, router="192.0.2.1", rtt_us=2500),
)


def trace_no(store: Store) -> int:
    """The number of the component's trace."""
    [[number]] = ask(store, "SELECT check_no FROM checks WHERE kind = 'trace' AND service = 'x'")
    return int(number)


def test_a_committed_trace_has_its_hops_beside_its_row(tmp_path: Path) -> None:
    """Each packet is a row with what the coordinator knows of vantage and check; silence is NULL."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            number, fates = trace_no(store), Fates()
            trace = row(number, hops=HOPS, trigger=Trigger.REQUEST)
            submit(store, fates, [row(2), trace], BatchName("p1", 7, 1))
            submit(store, fates, [row(number, trigger=Trigger.FAILURE)], BatchName("p2", 7, 1))
            assert await fates.wait(2) == [Fate.COMMITTED, Fate.COMMITTED]
            found = ask(
                store,
                "SELECT epoch_us(slot_at), epoch_us(received_at), probe_id, check_no, trigger, "
                "service, component, vantage, vantage_asn, vantage_country, address FROM hops",
            )
            same = ("p1", number, "request", "x", "spaces", "v01", 64512, "DE", "192.0.2.1")
            assert found == [(AT_US, NOW_US, *same)] * 3
            told = ask(
                store,
                "SELECT ttl, packet, router, rtt_ms, icmp_type, icmp_code FROM hops ORDER BY ttl",
            )
            assert told == [
                (1, 0, "10.0.0.1", 1.5, 11, 0),
                (2, 0, None, None, None, None),
                (3, 0, "192.0.2.1", 2.5, None, None),
            ]

    asyncio.run(scenario())


def test_what_is_a_trace_is_known_after_a_restart(tmp_path: Path) -> None:
    """A probe may deliver an old trace to a coordinator that has not planned anything yet."""

    async def scenario() -> None:
        fates = Fates()
        async with a_store(tmp_path) as store:
            number = trace_no(store)
        store = Store(tmp_path / "soundings.duckdb", free_bytes=lambda: 1 << 40)
        store.start()
        store.allow("p1", frozenset({number, 2}))
        submit(store, fates, [row(number, hops=HOPS)], BatchName("p1", 7, 1))
        submit(store, fates, [row(2, hops=HOPS)], BatchName("p1", 7, 2))
        assert await fates.wait(2) == [Fate.COMMITTED, Fate.REJECTED]
        assert ask(store, "SELECT count(*) FROM hops") == [(3,)]
        await store.stop()

    asyncio.run(scenario())
