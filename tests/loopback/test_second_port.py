"""The control that looks at another port of the address that the component's own check contacts."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from probe.core.explain import Explained, render
from probe.core.outcome import Outcome
from probe.io.box import Toolbox
from probe.toolbox import run_check
from proto.model import Check, Control, Failure, Kind, Operation
from tests.fakes.boxes import A_MORNING_US, loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import dns_server, says
from tests.fakes.scripted_server import closed_port

NAME = "www.example.test"
THREE = says(*(f"{NAME} 60 A 127.0.0.{number}" for number in (1, 2, 3)))
INTERVAL_S = 30.0


async def at_slot(asked: Check, box: Toolbox, number: int) -> Outcome:
    """The check's run for its slot of this number."""
    slot_at_us = A_MORNING_US + round(number * INTERVAL_S * 1e6)
    return await run_check(asked, replace(box, slot_at_us=slot_at_us))


@pytest.mark.parametrize("number", range(3))
async def test_both_ports_of_one_address_are_looked_at_in_a_slot(number: int) -> None:
    """A row each: the service's port answers, the other refuses, at one address in the same turn."""
    with socket.create_server(("", 0)) as listener:
        own = check(host=NAME, port=listener.getsockname()[1], interval_s=INTERVAL_S)
        second = replace(own, check_no=8, port=closed_port(), control=Control.SECOND_PORT)
        async with dns_server(THREE) as server, loopback_box(resolvers=(server.endpoint,)) as box:
            rows = [(await at_slot(asked, box, number)).result for asked in (own, second)]
    assert rows[0].address == rows[1].address is not None
    assert [row.check_no for row in rows] == [7, 8]
    assert [row.port for row in rows] == [own.port, second.port]
    assert [row.failure for row in rows] == [None, Failure.REFUSED]
    assert rows[1].operation is Operation.CONNECT


async def test_the_page_names_the_port_that_was_asked() -> None:
    """Whoever reads the explanation sees which port refused."""
    second = check(Kind.TCP, port=closed_port(), control=Control.SECOND_PORT)
    async with loopback_box() as box:
        outcome = await run_check(second, box)
        page = Explained(check=second, outcome=outcome, leaves=(), allowed=box.allowed, config=())
    text = render(page, with_steps=True)
    assert f"(tcp over IPv4 at 127.0.0.1:{second.port})" in text
    assert "FAILED: refused at connect" in text
