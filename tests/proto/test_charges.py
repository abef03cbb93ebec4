"""What a host's limits refuse of a plan is known beforehand, by the arithmetic of its own gate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.limits import Gate
from proto.charges import SHOWN_MAX, contacts_of, refused, target_of
from proto.model import Check, HostLimits, Kind
from proto.slots import first_slot_us, phase_us
from tests.fakes.ledgers import a_check

GENEROUS = HostLimits(checks_per_s=1e6, per_target_per_minute=1e6, concurrent=10**6)


def admitted(checks: list[Check], limits: HostLimits, *, minutes: int) -> tuple[int, int]:
    """How many slots fall due in so many minutes, and how many of them a gate lets start."""
    slots = []
    for check in checks:
        step = round(check.interval_s * 1e6)
        phase = phase_us("p", check.check_no, step)
        first = first_slot_us(0, interval_us=step, phase=phase)
        slots += [(at, check) for at in range(first, minutes * 60_000_000, step)]
    gate = Gate(limits, now_s=0.0)
    good = 0
    for at, check in sorted(slots, key=lambda slot: slot[0]):
        if gate.admit(check, now_s=at / 1e6) is None:
            good += 1
            gate.finished(check)
    return len(slots), good


def outlasts_a_bucket(
    asked: list[tuple[str, float]], per_s: float, per_minute: float, *, minutes: int
) -> bool:
    """Whether what is asked beyond a limit in that time is more than a full bucket held at first."""
    per_host: dict[str, float] = {}
    for host, interval_s in asked:
        per_host[host] = per_host.get(host, 0.0) + 60 / interval_s
    most = max(per_host.values(), default=0.0)
    in_total = sum(per_host.values()) / 60
    slack = len(asked)  # the grid may end before the last slot of each check
    return (most - per_minute) * minutes > per_minute + slack or (
        in_total - per_s
    ) * 60 * minutes > max(1.0, per_s) + slack


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((1.0, 7.0, 30.0))), max_size=8),
    st.sampled_from((0.2, 1.0, 50.0)),
    st.sampled_from((1.0, 10.0, 90.0)),
)
def test_the_gate_refuses_in_the_long_run_where_it_is_foretold(
    asked: list[tuple[str, float]], per_s: float, per_minute: float
) -> None:
    """More foretold than full buckets make good: not all start. Nothing, and buckets for all: all do."""
    checks = [
        a_check(number, host=host, kind=Kind.TCP, port=7, interval_s=interval_s)
        for number, (host, interval_s) in enumerate(asked, 1)
    ]
    limits = replace(GENEROUS, checks_per_s=per_s, per_target_per_minute=per_minute)
    due, good = admitted(checks, limits, minutes=10)
    if refused(checks, limits):
        assert good < due or not outlasts_a_bucket(asked, per_s, per_minute, minutes=10)
    elif min(per_s, per_minute) >= len(checks):  # n checks have n slots and their rate at most
        assert good == due


def test_the_share_that_is_lost_is_said() -> None:
    """Twice what may be is half refused, and the gate agrees."""
    checks = [a_check(1, host="a.test", kind=Kind.TCP, port=7, interval_s=1.0)]
    limits = replace(GENEROUS, per_target_per_minute=30)
    (text,) = refused(checks, limits)
    assert text == (
        "a.test is asked 60 times a minute and limits.per_target_per_minute is 30: 50 % of its slots "
        "end as not_run: policy"
    )
    due, good = admitted(checks, limits, minutes=60)
    assert good / due == pytest.approx(0.5, abs=0.02)
    (text,) = refused(checks, replace(GENEROUS, checks_per_s=0.25))
    assert text.startswith("1 slots fall due a second and limits.checks_per_s is 0.25: 75 % of all")


def test_what_only_a_failure_asks_for_is_foretold_too() -> None:
    """A trace is charged twelve contacts and may use half of a minute's: 24 is the least."""
    trace = a_check(2, kind=Kind.TRACE, host="a.test", interval_s=0, packets=3, max_hops=32)
    check = a_check(1, host="a.test", interval_s=60.0, on_failure=(2,))
    assert contacts_of(trace) == 12
    (text,) = refused([check, trace], replace(GENEROUS, per_target_per_minute=23))
    assert f"such as {trace.check_id}: it is charged 12" in text
    assert "24 is the least" in text
    assert refused([check, trace], replace(GENEROUS, per_target_per_minute=24)) == ()
    assert refused([replace(check, on_failure=()), trace], HostLimits(checks_per_s=1)) == ()


def test_only_the_worst_targets_are_named() -> None:
    """A plan of many hosts gives a few sentences and a count."""
    hosts = [f"h{number}.test" for number in range(SHOWN_MAX + 3)]
    checks = [a_check(n, host=host, interval_s=1.0 + n) for n, host in enumerate(hosts)]
    texts = refused(checks, replace(GENEROUS, per_target_per_minute=1))
    assert [text.split()[0] for text in texts[:SHOWN_MAX]] == hosts[:SHOWN_MAX]
    assert texts[SHOWN_MAX:] == ("3 more targets are asked more often than that",)


def test_a_target_is_whoever_receives_the_packets() -> None:
    """The named server of a DNS check, else the pinned address, else the host, in one spelling."""
    check = a_check(1, host="A.Test.", kind=Kind.DNS, port=53, server="192.0.2.53")
    assert target_of(check) == "192.0.2.53"
    assert target_of(replace(check, server=None)) == "a.test"
    assert target_of(replace(check, server=None, pinned="192.0.2.1")) == "192.0.2.1"
