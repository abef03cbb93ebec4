from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from probe.core.limits import (
    CHECKS_MAX,
    ONCE_AGE_MAX_US,
    ONCE_CHECKS_MAX,
    PACKETS_MAX,
    TARGETS_MAX,
    TRACE_PACKETS_MAX,
    TRACES_MAX,
    Bucket,
    Gate,
    once_findings,
    plan_findings,
)
from proto.charges import contacts_of, target_of
from proto.model import Check, HostLimits, Kind, Plan, Reason
from tests.fakes.ledgers import a_check


@given(
    rate=st.floats(0.1, 100),
    size=st.floats(1, 50),
    naps=st.lists(st.floats(0, 3), max_size=200),
)
def test_a_bucket_never_exceeds_its_rate(rate: float, size: float, naps: list[float]) -> None:
    """In any stretch no more is taken than the burst and the rate allow."""
    bucket, now_s, taken = Bucket(rate_per_s=rate, size=size, now_s=0), 0.0, 0
    for nap in naps:
        now_s += nap
        if bucket.has(now_s=now_s):
            bucket.take()
            taken += 1
    assert taken <= size + rate * now_s + 1e-6


def test_a_bucket_refills_to_the_full_rate() -> None:
    """Asking exactly at the rate is never refused: floats must not eat a token."""
    bucket = Bucket(rate_per_s=0.1, size=1, now_s=0)
    for number in range(1000):
        assert bucket.has(now_s=number * 10.0)
        bucket.take()


def test_one_target_is_not_asked_more_often_than_the_operator_allows() -> None:
    """Several checks of one name share its limit; another name has its own."""
    gate = Gate(HostLimits(per_target_per_minute=2), now_s=0)
    names = ("X.test", "x.test.", "x.test", "y.test")
    answers = [gate.admit(a_check(host=name), now_s=0) for name in names]
    assert answers == [None, None, Reason.POLICY, None]
    assert gate.admit(a_check(host="x.test"), now_s=31) is None


def test_what_runs_beside_the_schedule_leaves_every_bucket_half_full() -> None:
    """Of four per minute it gets two, in total as by name and by address; slots get the rest."""
    for limits in (HostLimits(per_target_per_minute=4), HostLimits(checks_per_s=4)):
        gate = Gate(limits, now_s=0)
        spare = [gate.admit(a_check(), now_s=0, spare=True) for _ in range(3)]
        assert spare == [None, None, Reason.POLICY]
        slots = [gate.admit(a_check(), now_s=0) for _ in range(3)]
        assert slots == [None, None, Reason.POLICY]
    gate = Gate(HostLimits(per_target_per_minute=4), now_s=0)
    contacts = [gate.admit_address("192.0.2.1", now_s=0, spare=True) for _ in range(3)]
    assert contacts == [True, True, False]
    assert gate.admit_address("192.0.2.1", now_s=0)


def test_the_total_rate_is_a_policy_of_the_operator() -> None:
    """Beyond checks_per_s slots are refused whatever their targets, and a refusal costs nothing."""
    gate = Gate(HostLimits(checks_per_s=2), now_s=0)
    answers = [gate.admit(a_check(host=f"{n}.test"), now_s=0) for n in range(3)]
    assert answers == [None, None, Reason.POLICY]
    assert gate.admit(a_check(host="2.test"), now_s=0.5) is None


def test_room_is_bounded_in_total_and_for_handshakes() -> None:
    """With all handshakes taken a plain check still has room."""
    gate = Gate(HostLimits(concurrent=3, concurrent_https=1), now_s=0)
    https = a_check(kind=Kind.HTTP, use_tls=True)
    assert gate.has_room(https)
    assert gate.admit(https, now_s=0) is None
    assert not gate.has_room(a_check(kind=Kind.TLS))
    assert gate.has_room(a_check())
    gate.admit(a_check(), now_s=0)
    gate.admit(a_check(), now_s=0)
    assert gate.running == 3
    assert not gate.has_room(a_check())
    gate.finished(https)
    assert gate.has_room(https)


def test_outstanding_echoes_are_bounded() -> None:
    """Each takes memory and a sequence number; one check alone may always run."""
    gate = Gate(HostLimits(outstanding_icmp=5), now_s=0)
    echo = a_check(kind=Kind.ICMP, packets=3, port=None)
    assert gate.has_room(a_check(kind=Kind.ICMP, packets=50, port=None))
    assert gate.admit(echo, now_s=0) is None
    assert not gate.has_room(echo)
    assert gate.has_room(a_check(kind=Kind.ICMP, packets=2, port=None))
    assert gate.has_room(a_check(packets=50))
    gate.finished(echo)
    assert gate.has_room(echo)


def test_the_target_of_a_check_is_who_gets_the_packets() -> None:
    """A named DNS server is the target, not the name asked for; a pinned address is itself."""
    dns = a_check(kind=Kind.DNS, host="example.test", server="192.0.2.53")
    assert target_of(dns) == "192.0.2.53"
    assert target_of(a_check(kind=Kind.DNS, host="Example.test.")) == "example.test"
    assert target_of(a_check(server="ignored", pinned="192.0.2.9")) == "192.0.2.9"


def test_forgotten_targets_were_full_ones() -> None:
    """With too many targets the table is pruned, and no limit is loosened by it."""
    gate = Gate(HostLimits(checks_per_s=1e9, per_target_per_minute=1, concurrent=10**9), now_s=0)
    for number in range(TARGETS_MAX):
        gate.admit(a_check(host=f"{number}.test"), now_s=0)
    assert gate.admit(a_check(host="one-more.test"), now_s=1) is None
    assert gate.admit(a_check(host="7.test"), now_s=1) is Reason.POLICY
    assert gate.admit(a_check(host="another.test"), now_s=120) is None
    assert gate.admit(a_check(host="7.test"), now_s=121) is None


def test_a_plan_that_asks_too_much_is_refused_with_reasons() -> None:
    """Too many checks, numbers given twice and intervals near zero are named."""
    checks = (a_check(1), a_check(1), a_check(2, interval_s=0.001), a_check(3, packets=1000))
    findings = plan_findings(Plan(version=1, checks=checks))
    assert [text.split(";")[0] for text in findings] == [
        "plan names a check_no twice",
        "check check-2: interval_s is 0.001",
        "check check-3: packets is 1000",
    ]
    nan = float("nan")
    odd = (a_check(1, confirm_after_s=(-1.0, nan, 301.0)), a_check(2, confirm_after_s=(1.0,) * 4))
    findings = plan_findings(Plan(version=1, checks=odd))
    assert [text.split(" is ")[1].split(";")[0] for text in findings] == ["-1", "nan", "301", "4"]
    many = tuple(a_check(number) for number in range(CHECKS_MAX + 1))
    assert len(plan_findings(Plan(version=1, checks=many))) == 1
    assert plan_findings(Plan(version=1, checks=many[:-1])) == ()


def test_checks_that_run_once_are_few_and_have_nothing_that_repeats() -> None:
    """No slots, nothing that follows, of this hour by this clock, and within the bounds of a plan."""
    good = tuple(a_check(number, interval_s=0) for number in range(ONCE_CHECKS_MAX))
    assert once_findings(Plan(version=1, checks=good, issued_at_us=5), now_us=7) == ()
    more = (*good, a_check(99, interval_s=0))
    odd = (
        a_check(1),
        a_check(2, interval_s=0, on_failure=(3,)),
        a_check(3, interval_s=0, confirm_after_s=(3.0,)),
        a_check(4, interval_s=0, packets=1000),
    )
    for checks, words in (
        (more, [f"{ONCE_CHECKS_MAX + 1} checks"]),
        (odd, ["packets is 1000", "interval_s is set", "on_failure is set", "confirm_after_s is"]),
    ):
        findings = once_findings(Plan(version=1, checks=checks, issued_at_us=5), now_us=7)
        assert len(findings) == len(words)
        assert all(word in text for word, text in zip(words, findings, strict=True))
    late = once_findings(Plan(version=1, checks=good, issued_at_us=5), now_us=ONCE_AGE_MAX_US + 6)
    assert [text.split(" by ")[0] for text in late] == ["it was issued at another time"]


def test_a_plan_may_ask_for_all_the_echoes_that_a_run_sends_and_no_more() -> None:
    """What is taken is sent: one number bounds both, so no slot sends fewer than its plan says."""
    most = a_check(kind=Kind.ICMP, packets=PACKETS_MAX, port=None)
    assert plan_findings(Plan(version=1, checks=(most,))) == ()
    more = a_check(kind=Kind.ICMP, packets=PACKETS_MAX + 1, port=None)
    assert plan_findings(Plan(version=1, checks=(more,))) == (
        f"check {more.check_id}: packets is {PACKETS_MAX + 1}; 0 to {PACKETS_MAX} is run",
    )


def test_an_address_is_not_asked_more_often_by_whatever_names() -> None:
    """Each name has its rate and the address behind all of them has one; it refills."""
    gate = Gate(HostLimits(per_target_per_minute=2), now_s=0)
    checks = [a_check(host=f"{number}.test") for number in range(4)]
    assert [gate.admit(check, now_s=0) for check in checks] == [None] * 4
    contacts = [gate.admit_address("192.0.2.1", now_s=0) for _ in checks]
    assert contacts == [True, True, False, False]
    assert gate.admit_address("192.0.2.2", now_s=0)
    assert gate.admit_address("192.0.2.1", now_s=31)


def test_a_literal_is_counted_once_for_one_contact() -> None:
    """As a name and as an address it is the same target, at the rate that the operator gave."""
    gate = Gate(HostLimits(per_target_per_minute=1), now_s=0)
    check = a_check(host="192.0.2.1")
    for now_s in (0, 60, 120):
        assert gate.admit(check, now_s=now_s) is None
        assert gate.admit_address("192.0.2.1", now_s=now_s)


def test_a_full_gate_has_room_for_nothing() -> None:
    """With as many running as may run the gate is full, and one that ends makes room again."""
    gate = Gate(HostLimits(concurrent=1), now_s=0.0)
    check = a_check(1)
    assert not gate.is_full
    assert gate.admit(check, now_s=0.0) is None
    assert gate.is_full
    assert not gate.has_room(check)
    gate.finished(check)
    assert not gate.is_full


def test_a_plan_cannot_fill_memory_or_wear_out_the_disk() -> None:
    """Every text and list has an end, and reports and heartbeats a pace."""
    long = {"host": "h" * 2049, "path": "/" + "p" * 2048, "expect_body": "b" * 2049}
    wide = {"on_failure": (1,) * 513, "expect_answers": ("a" * 2049,)}
    plan = Plan(version=1, checks=(a_check(1, **long, **wide),), flush_s=0.0, heartbeat_s=1e6)
    found = " ".join(plan_findings(plan))
    for name in (*long, *wide, "flush_s", "heartbeat_s"):
        assert f" {name} " in found, name
    most = a_check(1, host="h" * 2048, on_failure=(1,) * 512)
    assert plan_findings(Plan(version=1, checks=(most,), flush_s=0.05)) == ()


def a_trace(**fields: Any) -> Check:
    """A trace by ICMP."""
    return a_check(**{"kind": Kind.TRACE, "port": None, **fields})


def test_a_plan_cannot_make_one_trace_send_a_thousand_packets() -> None:
    """Packets and hops are bounded together, too; the finding names check, value and bound."""
    most = a_trace(packets=3, max_hops=64)
    assert plan_findings(Plan(version=1, checks=(most,))) == ()
    more = a_trace(packets=16, max_hops=64)
    assert plan_findings(Plan(version=1, checks=(more,))) == (
        f"check {more.check_id}: packets times max_hops is 1024; 1 to {TRACE_PACKETS_MAX} is run",
    )
    assert plan_findings(Plan(version=1, checks=(a_check(packets=16, max_hops=64),))) == ()


def test_a_trace_is_charged_for_what_it_may_send() -> None:
    """One contact for every eight packets, of the name as of the address."""
    gate = Gate(HostLimits(per_target_per_minute=60), now_s=0)
    long = a_trace(packets=3, max_hops=64)
    assert contacts_of(long) == 24
    assert [gate.admit(long, now_s=0) for _ in range(3)] == [None, None, Reason.POLICY]
    contacts = [
        gate.admit_address("192.0.2.1", now_s=0, contacts=contacts_of(long)) for _ in range(3)
    ]
    assert contacts == [True, True, False]
    assert contacts_of(a_trace(packets=0, max_hops=1)) == contacts_of(a_check(packets=16)) == 1


def test_few_traces_run_at_once() -> None:
    """Routers near by see them all; other checks have room beside them."""
    gate = Gate(HostLimits(), now_s=0)
    traces = [a_trace(port=443, host=f"{number}.test") for number in range(TRACES_MAX)]
    assert all(gate.has_room(one) and gate.admit(one, now_s=0) is None for one in traces)
    assert not gate.has_room(a_trace())
    assert gate.has_room(a_check())
    gate.finished(traces[0])
    assert gate.has_room(a_trace())


def test_a_trace_by_icmp_has_a_window_of_echoes_outstanding() -> None:
    """It counts among the echo requests, unless it goes to a port."""
    gate = Gate(HostLimits(outstanding_icmp=9), now_s=0)
    assert gate.admit(a_trace(), now_s=0) is None
    echo = a_check(kind=Kind.ICMP, packets=1, port=None)
    assert gate.has_room(echo)
    assert not gate.has_room(a_check(kind=Kind.ICMP, packets=2, port=None))
    assert not gate.has_room(a_trace(packets=1, max_hops=2))
    assert gate.has_room(a_trace(port=443))
