"""Plans of a hostile coordinator: refused whole with a reason, or every check of them can be handled.

The signature is left out: it is what a hostile coordinator has.
"""

from __future__ import annotations

import random

from google.protobuf.message import DecodeError

from probe.core.dnswire import build_query
from probe.core.expect import outside, server_of, why_impossible
from probe.core.httpfacts import Request, authority_of, url_of, user_agent_of, why_not_asked
from probe.core.limits import Gate, plan_findings
from probe.core.outcome import port_of
from probe.core.schedule import Schedule
from probe.io.httpwire import Exchange
from proto.charges import target_of
from proto.codec import plan_from_wire, plan_to_wire
from proto.gen import plan_pb2
from proto.model import Check, Control, HostLimits, Kind, Plan, WireError
from tests.fuzz.messages import mutated

NOW_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000
VALUES = ("1.2.3.4", "127.0.0.1", "2001:db8::1", "ns.example.test", '"text"')


def attempt(data: bytes) -> None:
    """Take a plan as the probe takes it, and handle each of its checks up to the first packet."""
    try:
        plan = plan_from_wire(data)
    except WireError:
        return
    assert plan_from_wire(plan_to_wire(plan)) == plan
    if plan_findings(plan):
        return
    schedule = Schedule("probe", now_us=NOW_US)
    schedule.adopt(plan.checks)
    due = schedule.due(NOW_US + DAY_US)
    assert {slot.check.check_no for slot in due.start} == {
        check.check_no for check in plan.checks if check.interval_s
    }
    for check in plan.checks:
        _holds(check, plan.user_agent)


def _holds(check: Check, user_agent: str) -> None:
    """A check that is not refused can be asked."""
    gate = Gate(HostLimits(), now_s=0.0)
    assert gate.has_room(check)
    assert gate.admit(check, now_s=0.0) is None
    gate.finished(check)
    assert target_of(check) == target_of(check).lower()
    if why_impossible(check) is not None:
        return
    port = port_of(check)
    assert port is None or 0 < port < 65536
    if check.kind is Kind.DNS:
        assert build_query(check.host, check.qtype, ident=1).wire
        server_of(check)
        outside(check, VALUES, allowed=())
    if check.kind is Kind.HTTP and why_not_asked(check) is None:
        _asks_one_thing(check, user_agent)


def _asks_one_thing(check: Check, user_agent: str) -> None:
    request = Request(
        method=check.method,
        authority=authority_of(check),
        target=check.path,
        user_agent=user_agent_of(user_agent),
    )
    sent = Exchange(request, cap_bytes=check.body_cap_bytes).request_bytes
    assert sent.count(b"\r\n\r\n") == 1
    assert sent.count(b"\r\n") == 7
    assert url_of(check).startswith("http")


def mutate(data: bytes, seed: int) -> bytes | None:
    """One field of the plan changed; None where the bytes are none."""
    message = plan_pb2.Plan()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return mutated(message, random.Random(seed)).SerializeToString()


def seeds() -> list[bytes]:
    """A plan with one check of each kind, and one with every field set."""
    plain = tuple(
        Check(check_no=number, check_id=f"x/{kind}", kind=kind, host="x.test", port=443)
        for number, kind in enumerate(Kind, start=1)
    )
    full = Check(
        check_no=9,
        check_id="full",
        kind=Kind.HTTP,
        host="x.test",
        port=8443,
        family=6,
        use_tls=True,
        path="/live?a=b",
        method="HEAD",
        expect_status=(200, 301),
        expect_body="good",
        server="192.0.2.53",
        expect_answers=("192.0.2.0/24",),
        pinned="2001:db8::1",
        follow_redirects=3,
        control=Control.NEUTRAL_SNI,
        sni="neutral.test",
        http_versions=("2", "1.1"),
        expect_sha256="ab12",
        on_failure=(9,),
        confirm_after_s=(3.0, 10.0),
    )
    name_server = Check(
        check_no=1,
        check_id="ns",
        kind=Kind.DNS,
        host="x.test",
        qtype="NS",
        server="[2001:db8::53]:5353",
        expect_answers=("ns.example.test.",),
    )
    plans = [Plan(version=3, checks=plain), Plan(version=4, checks=(full,))]
    plans += [Plan(version=5, checks=(name_server,)), Plan(version=0, checks=())]
    return [plan_to_wire(plan) for plan in plans]
