"""The control that contacts an address which the name had within the last day, and has no more."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from probe.core.memory import KEEP_S
from probe.core.outcome import Outcome
from probe.io.box import Toolbox
from probe.toolbox import run_check
from proto.model import Control, Failure, Kind, Operation, Reason, State
from tests.fakes.boxes import A_MORNING_US, loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import Behaviour, dns_server, says, silence
from tests.fakes.scripted_server import answering, response
from tests.fakes.tls_authority import make_authority

NAME = "www.example.test"
NOW_HERE = says(f"{NAME} 60 A 127.0.0.1")
BEFORE_THERE = says(f"{NAME} 60 A 127.0.0.2", f"{NAME} 60 A 127.0.0.3")


@dataclass(slots=True)
class World:
    """A name whose answers change, and a service on one port of all of loopback."""

    box: Toolbox
    port: int
    answers: list[Behaviour]
    now_us: list[int]

    async def run(self, kind: Kind = Kind.TCP, **fields: Any) -> Outcome:
        """A check of the name, now."""
        asked = check(kind, host=NAME, port=None if kind is Kind.DNS else self.port, **fields)
        return await run_check(asked, self.box)

    async def remembered(self, **fields: Any) -> Outcome:
        """The control, now."""
        fields.setdefault("kind", Kind.TCP)
        return await self.run(control=Control.REMEMBERED, interval_s=0.0, **fields)


@asynccontextmanager
async def world(answer: Behaviour) -> AsyncIterator[World]:
    """The name has this answer at first."""
    answers, now_us = [answer], [A_MORNING_US]

    def current(query: bytes, number: int) -> Sequence[bytes]:
        return answers[-1](query, number)

    with socket.create_server(("127.0.0.2", 0)) as listener:
        async with (
            dns_server(current) as server,
            loopback_box(resolvers=(server.endpoint,), wall=lambda: now_us[0]) as box,
        ):
            yield World(box, listener.getsockname()[1], answers, now_us)


@pytest.mark.parametrize(
    ("gone", "rcode"), [(says(rcode=3), 3), (says(rcode=2), 2), (says(), 0), (silence, None)]
)
async def test_a_name_that_fails_is_reached_where_it_led_before(
    gone: Behaviour, rcode: int | None
) -> None:
    """The old address is contacted; that the name fails is a fact of the row, not its failure."""
    async with world(BEFORE_THERE) as here:
        await here.run()
        here.answers.append(gone)
        outcome = await here.remembered(timeout_s=0.5)
    row = outcome.result
    assert (row.state, row.failure, row.dns_rcode) == (State.MEASURED, None, rcode)
    assert (row.address, row.answers) == ("127.0.0.2", None)
    assert row.connect_us is not None
    assert outcome.attempts[-1].operation is Operation.CONNECT


async def test_what_a_dns_check_learned_is_remembered_too() -> None:
    """Here the address is not contacted, because its rate is used up."""
    async with world(says(f"{NAME} 60 A 9.9.9.9")) as here:
        await here.run(Kind.DNS)
        here.answers.append(says(rcode=3))
        here.box = replace(here.box, may_contact=lambda _at: False)
        outcome = await here.remembered()
    assert outcome.result.reason is Reason.POLICY
    assert "9.9.9.9 was contacted as often as" in outcome.attempts[-1].detail


async def test_the_old_address_is_asked_under_the_name(tmp_path: Path) -> None:
    """The handshake says the name that failed, and the certificate is judged by it."""
    authority = make_authority(tmp_path)
    context = authority.leaf(NAME).context()
    said: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: said.append(name)
    async with (
        world(says(rcode=3)) as here,
        answering(response("200 OK"), context=context) as server,
    ):
        here.port = server.port
        here.box = replace(
            here.box, settings=replace(here.box.settings, ca_file=str(authority.ca_file))
        )
        here.box.memory.remember(NAME, ["127.0.0.1"], family=4, now_us=A_MORNING_US)
        row = (await here.remembered(kind=Kind.TLS)).result
    assert (row.failure, row.address, row.cert_verify) == (None, "127.0.0.1", 0)
    assert (row.dns_rcode, said) == (3, [NAME])


async def test_an_address_of_the_current_answer_is_not_a_memory() -> None:
    """The name moved: the old address is contacted, the new one stands in the answers."""
    async with world(BEFORE_THERE) as here:
        await here.run()
        here.answers.append(NOW_HERE)
        row = (await here.remembered()).result
    assert (row.failure, row.address, row.answers) == (None, "127.0.0.2", "127.0.0.1")
    assert (row.dns_rcode, row.dns_ttl_s) == (0, 60)


async def test_a_dead_memory_fails_like_any_connection() -> None:
    """Connect facts as usual; what the name says now stays beside them."""
    async with world(BEFORE_THERE) as here:
        await here.run()
        here.answers.append(says(rcode=3))
        here.port = 1
        row = (await here.remembered()).result
    assert (row.operation, row.failure) == (Operation.CONNECT, Failure.REFUSED)
    assert (row.address, row.dns_rcode) == ("127.0.0.2", 3)


@pytest.mark.parametrize("later_s", [0, KEEP_S])
async def test_without_a_memory_nothing_is_run(later_s: int) -> None:
    """The name always led where it leads now, or that was more than a day ago."""
    async with world(NOW_HERE if later_s == 0 else BEFORE_THERE) as here:
        await here.run()
        here.answers.append(NOW_HERE)
        here.now_us[0] += later_s * 1_000_000
        outcome = await here.remembered()
    row = outcome.result
    assert (row.state, row.reason, row.sent) == (State.NOT_RUN, Reason.UNSUPPORTED, 0)
    assert (row.answers, row.dns_rcode) == ("127.0.0.1", 0)
    assert "no address is remembered from the last 24 h" in outcome.attempts[-1].detail


async def test_a_memory_is_judged_by_the_policy_when_it_is_used() -> None:
    """A name that once led inside does not open the way there."""
    async with world(says(f"{NAME} 60 A 10.0.0.1", f"{NAME} 60 A 127.0.0.2")) as here:
        await here.run()
        here.answers.append(says(rcode=3))
        inside = (await here.remembered()).result
        here.box = replace(here.box, allowed=())
        nowhere = (await here.remembered()).result
    assert inside.address == "127.0.0.2"
    assert (nowhere.state, nowhere.reason) == (State.NOT_RUN, Reason.UNSUPPORTED)


async def test_what_others_were_told_is_not_remembered() -> None:
    """Answers of a named server, of a control, or outside the expected, are not the users' own."""
    async with world(says(f"{NAME} 60 A 10.0.0.1")) as here:
        (server,) = here.box.resolvers()
        await here.run(Kind.DNS)
        await here.run(Kind.DNS, server=str(server), expect_answers=("10.0.0.0/8",))
        await here.run(
            Kind.DNS,
            server=str(server),
            control=Control.PUBLIC_RESOLVER,
            expect_answers=("10.0.0.0/8",),
        )
        await here.run(Kind.DNS, qtype="TXT")
        assert len(here.box.memory) == 0
        await here.run(Kind.DNS, expect_answers=("10.0.0.0/8",))
        assert len(here.box.memory) == 1
