"""The canary end to end: real answers over loopback, an honest client, a liar, an operator's word."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from coordinator.app import wall_us
from coordinator.core.canary import GREETING, STRANGERS_MINUTE_MAX, hash_of
from coordinator.exits import CoordinatorError
from coordinator.store.rollup import count_bins, prepare
from coordinator.trusting import Trust
from coordinator.web.canary import answer_canaries
from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.fleet_client import Credentials, Line, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, row

CANARY = CONFIG + '[canary]\nlisten = "127.0.0.1:0"\nurl = "http://canary.test:7480/"\n'


def trust_of(house: House, *, automatic: bool = True) -> Trust:
    """One that a test makes look."""
    runtime = house.runtime
    return Trust(
        runtime.registry,
        runtime.store,
        wall=lambda: wall_us() + SECOND_US,
        automatic=lambda: automatic,
        changed=runtime.changed,
    )


async def fetched(house: House, count: int) -> list[bytes]:
    """So many answers of the canary."""
    url = f"http://{house.runtime.addresses['canary']}/any/path"
    found = []
    async with aiohttp.ClientSession() as client:
        for _ in range(count):
            async with client.get(url) as reply:
                assert (reply.status, reply.headers["Cache-Control"]) == (200, "no-store")
                found.append(await reply.read())
    return found


async def report(line: Line, check_no: int, bodies: list[bytes]) -> None:
    """Rows of the canary's check, a slot each, with the hashes of these bodies."""
    now_us = wall_us()
    rows = [
        row(check_no, now_us - (i + 2) * SECOND_US, body_sha256=hash_of(body), body_bytes=len(body))
        for i, body in enumerate(bodies)
    ]
    await line.send(batch=batch_of(body_of(rows), rows=len(rows)))
    await line.receive("ack")


async def greeted(line: Line) -> int:
    """Greet; gives the number of the canary's check, which is in every plan."""
    _, plan = await line.hello(sent_at_us=wall_us())
    (check,) = (c for c in plan.checks if c.check_id == "canary/nonce/http/4")
    assert check.expect_body == GREETING
    return check.check_no


async def says(house: House, probe: Credentials, bodies: list[bytes]) -> None:
    """A session that reports these bodies."""
    async with session(house.fleet, probe.channel()) as line:
        await report(line, await greeted(line), bodies)


def state(house: House, probe: Credentials) -> str:
    """What the registry has of a probe."""
    known = house.runtime.registry.probe(probe.probe_id)
    assert known is not None
    return known.state.value


def test_who_invents_answers_is_quarantined_and_who_asked_is_not(tmp_path: Path) -> None:
    """The liar is named with its counts, keeps its rows, and can be trusted again by a person."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CANARY, services=(answer_canaries,)) as house:
            honest, liar = await house.probe(), await house.probe(asn=64513)
            bodies = await fetched(house, 4)
            assert len(set(bodies)) == 4
            await house.until("SELECT count(*) FROM canary_answers", [(4,)])
            await says(house, honest, bodies)
            await says(house, liar, [body + b"!" for body in bodies])
            trust = trust_of(house)
            await trust.look()
            assert (state(house, honest), state(house, liar)) == ("enrolled", "quarantined")
            why = "SELECT state_by, state_reason FROM probes WHERE state = 'quarantined'"
            reason = "4 of 4 answers of our own server that it reports were never given to it"
            assert house.ask(why) == [("coordinator", reason)]
            assert house.ask("SELECT count(*) FROM results WHERE service = 'canary'") == [(8,)]
            facts = "SELECT canary_rows, canary_unknown, reasons FROM trust_facts ORDER BY ALL"
            await house.until(facts, [(4, 0, None), (4, 4, "canary")])
            await house.operator.quarantine(liar.probe_id, lift=True, reason="was a drill")
            await trust.look()
            assert state(house, liar) == "enrolled"

    asyncio.run(scenario())


def test_with_automatic_off_a_liar_is_named_and_left(tmp_path: Path) -> None:
    """The counts are kept, and what follows is a person's to decide."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CANARY, services=(answer_canaries,)) as house:
            liar = await house.probe()
            await says(house, liar, [bytes([n]) for n in range(3)])
            await trust_of(house, automatic=False).look()
            assert state(house, liar) == "enrolled"
            await house.until("SELECT reasons FROM trust_facts", [("canary",)])

    asyncio.run(scenario())


def test_canaries_are_nobodys_evidence(tmp_path: Path) -> None:
    """Their rows are counted into no cell: they tell of the probe and of no target."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CANARY, services=(answer_canaries,)) as house:
            probe = await house.probe()
            await says(house, probe, [b"x"])

            def count(con: Any) -> None:
                prepare(con)
                start = (wall_us() // 60_000_000 - 1) * 60_000_000
                count_bins(con, starts=[start, start + 60_000_000], bin_us=60_000_000,
                           as_of_us=wall_us())  # fmt: skip

            await house.runtime.store.run_in_store(count)
            assert house.ask("FROM cells") == []

    asyncio.run(scenario())


def test_a_flood_of_strangers_ends_at_429(tmp_path: Path) -> None:
    """The answerer costs no more rows than it may, whoever asks."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CANARY, services=(answer_canaries,)) as house:
            url = f"http://{house.runtime.addresses['canary']}/"
            statuses = []
            async with aiohttp.ClientSession() as client:
                for _ in range(STRANGERS_MINUTE_MAX + 20):
                    async with client.get(url) as reply:
                        statuses.append(reply.status)
            assert statuses.count(200) <= 2 * STRANGERS_MINUTE_MAX
            assert 429 in statuses or statuses.count(200) > STRANGERS_MINUTE_MAX  # a new minute

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_named_by_its_key(tmp_path: Path) -> None:
    """Who cannot listen says which key to change."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CANARY, services=(answer_canaries,)) as house:
            port = house.runtime.addresses["canary"].rpartition(":")[2]
            (tmp_path / "other").mkdir()
            taken = CANARY.replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"')
            async with a_coordinator(tmp_path / "other", config=taken, services=(answer_canaries,)):
                raise AssertionError("it started")

    with pytest.raises(CoordinatorError, match=r"canary\.listen: cannot listen"):
        asyncio.run(scenario())
