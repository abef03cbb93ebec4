from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from probe.core.endpoint import Endpoint
from probe.core.limits import Gate, Limits
from probe.core.outcome import Outcome, Refusal, Resolved, not_run
from probe.io.box import Toolbox
from probe.io.resolve import resolve
from probe.io.resolvers import Resolvers
from probe.io.ways import Way, way_to
from probe.toolbox import run_check, unsupported
from proto.model import (
    Check,
    Failure,
    Kind,
    Operation,
    Reason,
    StampSource,
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


# --- Resolution -----------------------------------------------------------------------------------


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
    gate = Gate(Limits(per_target_per_minute=2), now_s=0)
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


# --- Rows -----------------------------------------------------------------------------------------


async def test_a_tcp_row_has_its_times_and_addresses() -> None:
    """Resolve, connect and total, each by its clock."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with dns_server(HERE) as server, loopback_box(resolvers=(server.endpoint,)) as box:
            outcome = await run_check(check(host=NAME, port=port), box)
    row = outcome.result
    assert (row.state, row.failure, row.operation) == (State.MEASURED, None, None)
    assert (row.address, row.port, row.answers) == ("127.0.0.1", port, "127.0.0.1")
    assert (row.sent, row.lost, row.retransmits) == (1, 0, 0)
    assert (row.dns_rcode, row.dns_ttl_s) == (0, 60)
    assert row.rtt_us_min == row.rtt_us_median == row.rtt_us_max == row.connect_us
    assert row.stamp_source is StampSource.TCP_INFO
    assert row.resolve_us is not None
    assert row.total_us is not None
    assert row.total_us > row.resolve_us
    assert row.started_at_us == A_MORNING_US
    assert [step.operation for step in outcome.attempts] == [Operation.RESOLVE, Operation.CONNECT]


async def test_a_refused_connection_keeps_the_resolution() -> None:
    """A step that failed does not erase the ones before it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with dns_server(HERE) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        row = (await run_check(check(host=NAME, port=port), box)).result
    assert (row.operation, row.failure) == (Operation.CONNECT, Failure.REFUSED)
    assert (row.address, row.answers) == ("127.0.0.1", "127.0.0.1")
    assert row.resolve_us is not None


async def test_a_dns_row_names_the_server_asked() -> None:
    """The endpoint of a dns check is the server; all answers stand in the row, sorted."""
    async with dns_server(THREE) as server, loopback_box() as box:
        asked = check(Kind.DNS, host=NAME, server=server.endpoint)
        row = (await run_check(asked, box)).result
    assert (row.failure, row.address, row.port) == (None, server.address, server.port)
    assert row.answers == "127.0.0.1 127.0.0.2 127.0.0.3"
    assert (row.dns_rcode, row.dns_ttl_s, row.retransmits) == (0, 60, 0)
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


# --- What this vantage cannot do ------------------------------------------------------------------


async def test_an_impossible_check_is_unsupported_with_the_reason() -> None:
    """Bad plans end as rows that say what is wrong."""
    async with loopback_box() as box:
        asked = check(Kind.DNS, host=NAME, qtype="MX")
        assert "qtype is 'MX'" in (unsupported(asked, box) or "")
        outcome = await run_check(asked, box)
    assert (outcome.result.state, outcome.result.reason) == (State.NOT_RUN, Reason.UNSUPPORTED)
    assert "qtype is 'MX'" in outcome.attempts[0].detail


async def test_a_family_that_was_never_here_is_unsupported() -> None:
    """Without addresses of a family, and none meant on loopback, its checks cannot run."""
    async with loopback_box(allow_networks=("127.0.0.0/8",)) as box:
        box.families.clear()
        box.families.add(4)
        missing = unsupported(check(host=NAME, family=6, port=1), box)
        assert missing is None or "no address of IPv6" in missing
        assert unsupported(check(host="::1", family=6, port=1), box) is None
        assert unsupported(check(host=NAME, port=1), box) is None


async def test_loopback_may_stand_in_for_a_family() -> None:
    """A world on loopback needs no address but that, once the operator allows it."""
    async with loopback_box() as box:
        box.families.clear()
        assert unsupported(check(host=NAME, port=1), box) is None
        assert unsupported(check(host=NAME, family=6, port=1), box) is None


async def test_drops_are_known_only_with_icmp_sockets() -> None:
    """No socket, no count: not known, rather than zero."""
    async with loopback_box() as box:
        assert box.receive_drops() == (0 if box.pingers else None)
        assert set(box.pingers) | set(box.without_icmp) == {4, 6}


# --- The door itself ------------------------------------------------------------------------------


async def test_a_failure_inside_the_block_comes_out_as_it_is() -> None:
    """The receivers' nursery does not wrap what its user raises."""
    with pytest.raises(LookupError, match=r"^mine$"):
        async with loopback_box():
            raise LookupError("mine")


@pytest.mark.parametrize("fields", [{"resolvers": ("dns",)}, {"allow_networks": ("ten",)}])
async def test_bad_settings_are_refused_before_anything_opens(fields: dict[str, object]) -> None:
    """The message names the entry."""
    with pytest.raises(ValueError, match=r"'dns' is no server|'ten' is no network"):
        async with loopback_box(**fields):
            pass


async def test_a_bug_in_a_runner_comes_out() -> None:
    """Only what the network does becomes a row."""

    async def broken(asked: Check, box: Toolbox) -> Outcome:
        raise ZeroDivisionError

    async with loopback_box() as box:
        with pytest.raises(ZeroDivisionError):
            await run_check(check(port=1), box, runners={Kind.TCP: broken})


def test_a_run_that_outlives_its_deadline_is_cut_off() -> None:
    """A loop that stood still is this machine's overload, never the target's silence."""

    async def endless(asked: Check, box: Toolbox) -> Outcome:
        await trio.sleep_forever()
        return not_run(asked, reason=Reason.STOPPED, why="never reached")

    async def run() -> Outcome:
        async with loopback_box() as box:
            return await run_check(check(port=1), box, runners={Kind.TCP: endless})

    row = trio.run(run, clock=MockClock(autojump_threshold=0)).result
    assert (row.failure, row.validity) == (Failure.LOCAL_OVERLOAD, Validity.PROBE_FAULT)


async def test_a_source_address_binds_its_family_alone() -> None:
    """An IPv4 source leaves IPv6 as it is."""
    async with loopback_box(source_address="127.0.0.5") as box:
        assert box.source_for("192.0.2.1") == "127.0.0.5"
        assert box.source_for("2001:db8::1") is None
    async with loopback_box() as box:
        assert box.source_for("192.0.2.1") is None


async def test_the_source_address_reaches_the_peer() -> None:
    """Checks leave from where the operator wants them to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = check(port=listener.getsockname()[1])
        async with loopback_box(source_address="127.0.0.5") as box:
            assert (await run_check(asked, box)).result.failure is None
        peer, (address, _) = listener.accept()
        peer.close()
    assert address == "127.0.0.5"


# --- Resolvers of the machine ---------------------------------------------------------------------


def test_a_changed_resolv_conf_is_read_again(tmp_path: Path) -> None:
    """DHCP may bring another resolver while the probe runs."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    resolvers = Resolvers((), path=file)
    assert resolvers() == (Endpoint("192.0.2.1", 53),)
    file.write_text("nameserver 192.0.2.2\n")
    os.utime(file, ns=(1, 1))
    assert resolvers() == (Endpoint("192.0.2.2", 53),)
    file.unlink()
    assert resolvers() == (Endpoint("192.0.2.2", 53),)


def test_without_resolv_conf_this_machine_is_asked(tmp_path: Path) -> None:
    """As the C library does; what the operator set comes before."""
    missing = tmp_path / "none"
    assert Resolvers((), path=missing)() == (Endpoint("127.0.0.1", 53),)
    given = Resolvers(("[::1]:5353",), path=missing)
    assert given() == (Endpoint("::1", 5353),)


def test_ways_are_found_without_sending() -> None:
    """Loopback is reached from itself and without a gateway; nonsense has no way."""
    assert way_to("127.0.0.1") == Way(own="127.0.0.1", gateway=None)
    assert way_to("nonsense") == Way(own=None, gateway=None)
