from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio

from probe.core.limits import Gate
from probe.core.outcome import Refusal, Resolved
from probe.io.box import Toolbox
from probe.io.resolve import resolve
from probe.toolbox import run_check
from proto.model import (
    Check,
    Failure,
    HostLimits,
    Kind,
    Operation,
    Reason,
    State,
    Validity,
)
from tests.fakes.boxes import A_MORNING_US, loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import dns_server, says, silence

NAME = "www.example.test"
HERE = says(f"{NAME} 60 A 127.0.0.1")
THREE = says(*(f"{NAME} 60 A 127.0.0.{number}" for number in (3, 1, 2)))


async def resolved(asked: Check, box: Toolbox) -> Resolved | Refusal:
    """Where the check leads, within its timeout."""
    return await resolve(asked, box, deadline=trio.current_time() + asked.timeout_s)


async def test_a_literal_is_not_asked_for() -> None:
    """An address passes through, in canonical form, without a resolver."""
    async with loopback_box() as box:
        found = await resolved(check(host="::1", family=6, port=1), box)
    assert found == Resolved(address="::1", addresses=("::1",))


async def test_a_pinned_address_comes_before_the_name() -> None:
    """The name stays what it is for TLS and HTTP; the address contacted is the plan's."""
    async with loopback_box() as box:
        found = await resolved(check(host=NAME, pinned="127.0.0.9", port=1), box)
    assert isinstance(found, Resolved)
    assert found.address == "127.0.0.9"


async def test_vantages_take_the_addresses_in_turn() -> None:
    """One address per slot, the next in the next slot, the same for all who see the same answer."""
    now = [A_MORNING_US]
    async with (
        dns_server(THREE) as server,
        loopback_box(resolvers=(server.endpoint,), wall=lambda: now[0]) as box,
    ):
        seen = []
        for _ in range(4):
            found = await resolved(check(host=NAME, port=1, interval_s=30.0), box)
            assert isinstance(found, Resolved)
            assert found.addresses == ("127.0.0.1", "127.0.0.2", "127.0.0.3")
            seen.append(found.address)
            now[0] += 30_000_000
    assert seen[0] == seen[3]
    assert set(seen) == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}


async def test_the_slot_decides_the_turn_and_not_the_moment_of_running() -> None:
    """A run that starts late contacts the address of the slot it fills."""
    now = [A_MORNING_US]
    async with (
        dns_server(THREE) as server,
        loopback_box(resolvers=(server.endpoint,), wall=lambda: now[0]) as open_box,
    ):
        seen = set()
        for late_us in (0, 29_000_000, 31_000_000):
            now[0] = A_MORNING_US + late_us
            box = replace(open_box, slot_at_us=A_MORNING_US)
            found = await resolved(check(host=NAME, port=1, interval_s=30.0), box)
            assert isinstance(found, Resolved)
            seen.add(found.address)
    assert len(seen) == 1


async def test_barred_addresses_are_left_out_of_the_turn() -> None:
    """A name with a private and an allowed address leads to the allowed one; both are recorded."""
    mixed = says(f"{NAME} 60 A 10.0.0.1", f"{NAME} 60 A 127.0.0.1")
    async with dns_server(mixed) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        found = await resolved(check(host=NAME, port=1), box)
    assert isinstance(found, Resolved)
    assert (found.address, found.addresses) == ("127.0.0.1", ("10.0.0.1", "127.0.0.1"))


async def test_a_name_that_leads_inside_is_not_followed() -> None:
    """The policy judges what DNS said: the slot is not run, and the answer is kept as a fact."""
    async with (
        dns_server(says(f"{NAME} 60 A 10.0.0.1")) as server,
        loopback_box(resolvers=(server.endpoint,)) as box,
    ):
        outcome = await run_check(check(host=NAME, port=1), box)
    row = outcome.result
    assert (row.state, row.reason, row.failure) == (State.NOT_RUN, Reason.POLICY, None)
    assert (row.answers, row.sent, row.started_at_us) == ("10.0.0.1", 0, None)
    assert "10.0.0.1 is private" in outcome.attempts[-1].detail


async def test_names_of_one_address_share_its_rate() -> None:
    """The address counts, not what it is called: the slot is not run, and the answer is kept."""
    gate = Gate(HostLimits(per_target_per_minute=2), now_s=0)
    rows = []
    async with dns_server(HERE) as server, loopback_box(resolvers=(server.endpoint,)) as open_box:
        box = replace(open_box, may_contact=lambda at: gate.admit_address(at, now_s=0))
        for name in (NAME, NAME.upper(), NAME):
            outcome = await run_check(check(host=name, port=1), box)
            rows.append(outcome.result)
    assert [row.state for row in rows] == [State.MEASURED, State.MEASURED, State.NOT_RUN]
    assert (rows[2].reason, rows[2].answers, rows[2].sent) == (Reason.POLICY, "127.0.0.1", 0)
    assert "limits.per_target_per_minute" in outcome.attempts[-1].detail


async def test_a_dns_server_has_its_rate_too() -> None:
    """Beyond it the server is not asked, whatever the question."""
    async with dns_server(HERE) as server, loopback_box() as open_box:
        box = replace(open_box, may_contact=lambda _at: False)
        asked = check(kind=Kind.DNS, host=NAME, port=None, server=server.endpoint)
        row = (await run_check(asked, box)).result
    assert (row.state, row.reason) == (State.NOT_RUN, Reason.POLICY)


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "192.168.1.1"])
async def test_a_literal_inside_is_not_contacted(host: str) -> None:
    """A plan cannot send the probe into its own network."""
    async with loopback_box() as box:
        row = (await run_check(check(host=host, port=80), box)).result
    assert (row.state, row.reason) == (State.NOT_RUN, Reason.POLICY)


async def test_a_pin_that_is_no_address_is_not_resolved() -> None:
    """Whoever calls without asking `unsupported` first gets a refusal, not a lookup."""
    async with loopback_box() as box:
        found = await resolved(check(host=NAME, pinned="localhost", port=1), box)
        odd = await resolved(check(host="a..b", port=1), box)
    assert isinstance(found, Refusal)
    assert isinstance(odd, Refusal)
    assert (found.reason, odd.reason) == (Reason.POLICY, Reason.POLICY)


@pytest.mark.parametrize(
    ("behaviour", "failure", "rcode"),
    [
        (says(rcode=3), Failure.DNS_NXDOMAIN, 3),
        (says(rcode=2), Failure.DNS_SERVFAIL, 2),
        (says(rcode=5), Failure.DNS_REFUSED, 5),
        (says(), Failure.DNS_NODATA, 0),
        (silence, Failure.DNS_TIMEOUT, None),
    ],
)
async def test_a_failed_resolution_is_a_step_of_its_own(
    behaviour: object, failure: Failure, rcode: int | None
) -> None:
    """The row names the step and the word; the target was not attempted."""
    async with dns_server(behaviour) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        row = (await run_check(check(host=NAME, port=1, timeout_s=0.3), box)).result
    assert (row.operation, row.failure, row.dns_rcode) == (Operation.RESOLVE, failure, rcode)
    assert (row.state, row.sent, row.lost, row.address) == (State.MEASURED, 1, 1, None)
    assert row.validity is Validity.OK


@pytest.mark.parametrize("kind", [Kind.ICMP, Kind.TCP, Kind.TLS, Kind.HTTP, Kind.TRACE])
async def test_a_silent_resolver_never_blames_the_target(kind: Kind) -> None:
    """Resolution gives up within its share of the timeout and says so, whatever the kind."""
    async with dns_server(silence) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        if kind in {Kind.ICMP, Kind.TRACE} and 4 in box.without_icmp:
            pytest.skip(box.without_icmp[4])
        started = trio.current_time()
        port = None if kind in {Kind.ICMP, Kind.TRACE} else 1
        asked = check(kind, host=NAME, port=port, timeout_s=0.4)
        row = (await run_check(asked, box)).result
        took_s = trio.current_time() - started
    assert (row.operation, row.failure) == (Operation.RESOLVE, Failure.DNS_TIMEOUT)
    assert took_s < 0.35


async def test_a_lost_query_shows_in_the_times_of_the_row() -> None:
    """The wait for the second query's answer is in `resolve_us` and in `total_us`."""

    def second(query: bytes, number: int) -> Sequence[bytes]:
        return HERE(query, number) if number > 1 else ()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with dns_server(second) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        row = (await run_check(check(host=NAME, port=port, timeout_s=1.0), box)).result
    await listeners[0].aclose()
    assert (row.failure, row.retransmits) == (None, 0)
    assert row.resolve_us is not None
    assert row.total_us is not None
    assert 150_000 < row.resolve_us <= row.total_us
