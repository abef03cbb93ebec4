from __future__ import annotations

from typing import Any

import dns.flags
import pytest

from probe.toolbox import run_check
from proto.model import (
    Control,
    Failure,
    Kind,
    Reason,
    StampSource,
    State,
)
from tests.fakes.boxes import loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import dns_server, framed, says, silence

NAME = "www.example.test"
HERE = says(f"{NAME} 60 A 127.0.0.1")
THREE = says(*(f"{NAME} 60 A 127.0.0.{number}" for number in (3, 1, 2)))


async def test_a_dns_row_names_the_server_asked() -> None:
    """The endpoint of a dns check is the server; all answers stand in the row, sorted."""
    async with dns_server(THREE) as server, loopback_box() as box:
        asked = check(Kind.DNS, host=NAME, server=server.endpoint)
        row = (await run_check(asked, box)).result
    assert (row.failure, row.address, row.port) == (None, server.address, server.port)
    assert row.answers == "127.0.0.1 127.0.0.2 127.0.0.3"
    assert (row.dns_rcode, row.dns_ttl_s, row.dns_flags, row.retransmits) == (0, 60, "rd", 0)
    assert row.stamp_source is StampSource.KERNEL
    assert row.resolve_us == row.rtt_us_median


async def test_a_dns_check_without_a_server_asks_the_vantages_resolvers() -> None:
    """What the vantage's users would be told."""
    async with dns_server(HERE) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        row = (await run_check(check(Kind.DNS, host=NAME), box)).result
    assert (row.failure, row.port, row.answers) == (None, server.port, "127.0.0.1")


@pytest.mark.parametrize(
    ("answer", "expected", "failure"),
    [
        ("1.1.1.1", (), None),
        ("1.1.1.1", ("1.1.1.0/24",), None),
        ("8.8.8.8", ("1.1.1.0/24",), Failure.DNS_MISMATCH),
        ("10.10.34.34", (), Failure.DNS_MISMATCH),
    ],
)
async def test_answers_outside_the_expected_are_a_mismatch(
    answer: str, expected: tuple[str, ...], failure: Failure | None
) -> None:
    """Forged and bogus answers are a failure of resolution, with the answer kept."""
    async with dns_server(says(f"{NAME} 60 A {answer}")) as server, loopback_box() as box:
        asked = check(Kind.DNS, host=NAME, server=server.endpoint, expect_answers=expected)
        row = (await run_check(asked, box)).result
    assert (row.failure, row.answers, row.lost) == (failure, answer, 0 if failure is None else 1)


async def test_a_silent_server_is_named_in_the_row() -> None:
    """Nobody answered: the row still says who was asked, and how often."""
    async with dns_server(silence) as server, loopback_box() as box:
        asked = check(Kind.DNS, host=NAME, server=server.endpoint, timeout_s=0.2)
        row = (await run_check(asked, box)).result
    assert (row.failure, row.address, row.port) == (
        Failure.DNS_TIMEOUT,
        server.address,
        server.port,
    )
    assert (row.retransmits, row.rtt_us_median) == (1, None)


@pytest.mark.parametrize("server", ["10.0.0.53", "fe80::1%lo", "169.254.169.253"])
async def test_a_plan_cannot_ask_servers_inside(server: str) -> None:
    """A server named by the plan is judged like any target."""
    async with loopback_box() as box:
        row = (await run_check(check(Kind.DNS, host=NAME, server=server), box)).result
    assert (row.state, row.reason) == (State.NOT_RUN, Reason.POLICY)


async def test_a_row_says_when_the_answer_came_over_tcp() -> None:
    """All answers of a list that fits no datagram, and how they came."""
    many = [f"{NAME} 60 A 1.1.{number // 250}.{number % 250 + 1}" for number in range(90)]
    whole = says(*many, flags=dns.flags.AA)
    async with (
        dns_server(says(flags=dns.flags.TC), tcp=lambda *a: framed(*whole(*a))) as server,
        loopback_box() as box,
    ):
        row = (await run_check(check(Kind.DNS, host=NAME, server=server.endpoint), box)).result
    assert (row.failure, row.dns_flags) == (None, "aa rd tcp")
    assert row.answers is not None
    assert len(row.answers.split()) == 90


@pytest.mark.parametrize(("kind", "fields"), [(Kind.DNS, {}), (Kind.TCP, {"port": 1})])
async def test_a_refused_question_keeps_the_servers_flags(
    kind: Kind, fields: dict[str, Any]
) -> None:
    """What else the reply said stands beside the failure, in the rows of every kind."""
    async with (
        dns_server(says(rcode=5, flags=dns.flags.RA)) as server,
        loopback_box(resolvers=(server.endpoint,)) as box,
    ):
        row = (await run_check(check(kind, host=NAME, **fields), box)).result
    assert (row.failure, row.dns_rcode, row.dns_flags) == (Failure.DNS_REFUSED, 5, "rd ra")


async def test_without_a_reply_there_are_no_flags() -> None:
    """Not known is not the same as none set."""
    async with dns_server(silence) as server, loopback_box() as box:
        asked = check(Kind.DNS, host=NAME, server=server.endpoint, timeout_s=0.2)
        row = (await run_check(asked, box)).result
    assert (row.dns_flags, row.dns_rcode, row.answers) == (None, None, None)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_public_resolver_is_asked_over_either_family(address: str) -> None:
    """The control names whom to ask; which family the check is about does not matter for that."""
    async with dns_server(says(f"{NAME} 60 AAAA 2606:4700::1"), address=address) as server:
        asked = check(
            Kind.DNS,
            host=NAME,
            server=server.endpoint,
            family=6,
            qtype="AAAA",
            control=Control.PUBLIC_RESOLVER,
        )
        async with loopback_box() as box:
            row = (await run_check(asked, box)).result
    assert (row.failure, row.address, row.port) == (None, address, server.port)
    assert (row.answers, row.family) == ("2606:4700::1", 6)
