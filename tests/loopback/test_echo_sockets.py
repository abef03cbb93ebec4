from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.echo_stories import ECHO_STORIES, REJECTS
from tests.fakes.netlab import ROUTER, ROUTER6, TARGET, TARGET6, enter, why_not

pytestmark = pytest.mark.lab

# Stories mostly wait; each has its own process and its own network.
SIDE_BY_SIDE = 3

Tell = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module", params=["datagram", "raw"])
def tell(request: pytest.FixtureRequest) -> Iterator[Tell]:
    """What a story came to with one kind of socket; told in the background from the first on."""
    why = why_not()
    if why is not None and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip(f"no namespaces here: {why}")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        told = {name: pool.submit(enter, name, request.param) for name in ECHO_STORIES}
        yield lambda name: told[name].result()


def test_both_kinds_of_socket_measure_alike(tell: Tell, request: pytest.FixtureRequest) -> None:
    """No failure, no loss, stamps by the kernel, whichever socket this machine lets us open."""
    found = tell("answered")
    is_raw = found.pop("raw")
    assert is_raw == [request.node.callspec.params["tell"] == "raw"] * 2
    for row in found.values():
        assert (row["failure"], row["sent"], row["lost"]) == (None, 3, 0)
        assert (row["duplicates"], row["late"], row["stamp_source"]) == (0, 0, "kernel")
        assert 0 < row["rtt_us_min"] <= row["rtt_us_median"] <= row["rtt_us_max"] < 50_000


def test_a_trace_by_icmp_takes_either_kind_of_socket(tell: Tell) -> None:
    """Every packet of each hop is answered and stamped, and disturbs no echo of another check."""
    found = tell("traced")
    assert (found["echo"]["failure"], found["echo"]["lost"]) == (None, 0)
    for name, ways in (("icmp4", (ROUTER, TARGET)), ("icmp6", (ROUTER6, TARGET6))):
        assert (found[name]["failure"], found[name]["stamp_source"]) == (None, "kernel")
        hops = [[ttl, router] for ttl, router in enumerate(ways, start=1) for _ in range(3)]
        assert found[name]["hops"] == hops


def test_a_trace_by_icmp_runs_after_rights_were_given_up(tell: Tell) -> None:
    """As many at once as may, and others after them: every packet is answered, each by its own."""
    found = tell("traced_without_the_right")
    for name, way in found.items():
        routers = (ROUTER6, TARGET6) if "6" in name else (ROUTER, TARGET)
        assert way["failure"] is None, name
        hops = [[ttl, router] for ttl, router in enumerate(routers, start=1) for _ in range(3)]
        assert way["hops"] == hops, name


def test_sends_are_stamped_where_the_operator_asks(tell: Tell) -> None:
    """Both ends of the round trip are the kernel's, and stay so after sends that were refused."""
    found = tell("stamped_both_ways")
    assert found["denied"]["failure"] == "local_denied"
    for rows in (found["first"], found["after"]):
        for row in rows.values():
            assert (row["failure"], row["stamp_source"]) == (None, "kernel_both")
            assert 0 <= row["rtt_us_min"] <= row["rtt_us_max"] < 50_000


@pytest.mark.parametrize("word", [*REJECTS, "ttl_exceeded"])
def test_an_error_keeps_its_word_and_its_router(tell: Tell, word: str) -> None:
    """The error queue says type, code and sender, on either kind of socket."""
    far = word == "ttl_exceeded"
    for name, row in tell("refused")[word].items():
        assert (row["failure"], row["sent"], row["lost"]) == (word, 3, 3)
        assert far or row["router"] == (ROUTER if name == "icmp4" else ROUTER6)


def test_other_programs_echoes_are_not_ours(tell: Tell) -> None:
    """What answers another process never reaches our socket, in either family."""
    assert tell("beside_strangers") == {TARGET: [None] * 20, TARGET6: [None] * 20}


def test_replies_after_the_deadline_are_late(tell: Tell) -> None:
    """Lost for their slot, and counted as late in its own row; what comes later still is nobody's."""
    found = tell("answered_late")
    rows = [found[name] for name in ("late", "silent", "after")]
    assert [row["failure"] for row in rows] == ["timeout", "timeout", None]
    assert [(row["lost"], row["late"]) for row in rows] == [(2, 2), (2, 0), (0, 0)]
    assert max(row["total_us"] for row in rows) <= 1_000_000
    assert found["late"]["total_us"] == found["silent"]["total_us"] == 200_000
    assert found["after"]["duplicates"] == 0


def test_partial_loss_is_counted_not_judged(tell: Tell) -> None:
    """Half of six requests lost: a good row with three lost."""
    row = tell("partial_loss")["icmp4"]
    assert (row["failure"], row["sent"], row["lost"]) == (None, 6, 3)


def test_an_error_about_one_target_never_hits_another(tell: Tell) -> None:
    """The error that a filtered target leaves on the shared socket poisons no healthy request."""
    found = tell("poisoned")
    assert found["healthy"] == [[None, 0, "ok"]]
    assert found["filtered"] == [["prohibited", 2, "ok"]]


def test_a_loop_that_stands_still_loses_nothing(tell: Tell) -> None:
    """Replies that came in time count, with their true round trip, though all are read too late."""
    rows = tell("stalled")["rows"]
    assert len(rows) == 50
    assert {(row["failure"], row["lost"], row["stamp_source"]) for row in rows} == {
        (None, 0, "kernel")
    }
    assert max(row["rtt_us_max"] for row in rows) < 100_000


def test_replies_that_overflow_the_buffer_are_our_overload(tell: Tell) -> None:
    """The kernel counts what it dropped on the socket: no target is blamed for it."""
    found = tell("overflowing")
    failed = [row for row in found["rows"] if row["failure"] is not None]
    assert found["drops"] > 0
    assert failed
    assert {(row["failure"], row["validity"]) for row in failed} == {
        ("local_overload", "probe_fault")
    }


def test_duplicates_are_counted_and_forgeries_ignored(tell: Tell) -> None:
    """A reply without our token answers nothing; a second genuine one is a duplicate."""
    row = tell("answered_twice")["icmp4"]
    assert (row["sent"], row["lost"], row["failure"]) == (3, 0, None)
    assert row["duplicates"] >= 2


def test_a_slot_given_up_disturbs_no_other(tell: Tell) -> None:
    """Replies to requests whose slot was cancelled wake nobody; nothing is left waiting."""
    found = tell("cancelled")
    row = found["after"]
    assert (row["failure"], row["lost"], row["late"], found["waiting"]) == (None, 0, 0, 0)


def test_a_machine_without_icmp_rights_says_how_to_get_them(tell: Tell) -> None:
    """The row is not run, and its reason names the setting, its value and the command."""
    found = tell("without_rights")
    assert (found["icmp4"]["state"], found["icmp4"]["reason"]) == ("not_run", "unsupported")
    assert "sysctl -w net.ipv4.ping_group_range=" in found["why"]
    assert found["drops"] is None
    # Also when the right went after the start, as a daemon's does.
    assert (found["trace"]["state"], found["trace"]["reason"]) == ("not_run", "unsupported")
    assert "sysctl -w net.ipv4.ping_group_range=" in found["trace"]["why"]


def test_a_machine_without_ipv6_says_so(tell: Tell) -> None:
    """A family that was never there is unsupported, not failing."""
    assert "no address of IPv6" in tell("without_rights")["why6"]
