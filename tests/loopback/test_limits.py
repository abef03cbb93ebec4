"""Every limit of a probe against a plan that exceeds it: a process runs, and the limit wins.

The operator's limits (probe.toml) are counted where the probe knocks; a plan that asks for more than
any plan may is refused whole by the same process, which goes on with the plan it has.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from probe.core import limits
from probe.core.outcome import Outcome
from probe.engine import Engine, Runner
from probe.io.clock import Clocks
from proto.gen import fleet_pb2
from proto.model import Check, Failure, HostLimits, Kind, Plan, Reason, Result, State
from tests.fakes.doors import LOCAL, Door
from tests.fakes.fleet import Coordinator
from tests.fakes.ledgers import START_US, a_check, a_row
from tests.fakes.vantage import enrolled

ROOT = Path(__file__).resolve().parents[2]
ROOMY: Final = {"checks_per_s": 1000, "per_target_per_minute": 60000}
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
MANY: Final = 12
"""Checks of a plan, five times a second each."""


@contextmanager
def probing(state: Path, toml: str) -> Iterator[subprocess.Popen[bytes]]:
    """A probe process that is stopped at the end."""
    (state / "probe.toml").write_text(f'allow_networks = ["127.0.0.0/8"]\n{toml}')
    with (state / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "soundings", "probe", "run", "--state", str(state)],
            cwd=ROOT,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def section(name: str, values: dict[str, Any]) -> str:
    """A table of probe.toml."""
    return "\n".join((f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""))


def asking(door: Door, **given: Any) -> tuple[Check, ...]:
    """More than any of the limits below allows."""
    asked = {"kind": Kind.HTTP, "host": LOCAL, "port": door.port, "interval_s": 0.2, **given}
    return tuple(a_check(number, **asked) for number in range(1, MANY + 1))


# --- The operator's ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A limit, what the plan asks of the door, and what the door may have seen after so long."""

    value: float
    reason: Reason
    says: bytes = ANSWER
    asked: dict[str, Any]
    holds: Callable[[Door, float, float], bool]


def _within_rate(door: Door, per_s: float, elapsed_s: float) -> bool:
    return 0 < door.connections <= max(1.0, per_s) + per_s * elapsed_s + 1


OPERATORS: Final = {
    "checks_per_s": Case(
        value=2,
        reason=Reason.POLICY,
        asked={},
        holds=_within_rate,
    ),
    "per_target_per_minute": Case(
        value=3,
        reason=Reason.POLICY,
        asked={},
        holds=lambda door, value, elapsed_s: (
            3 <= door.connections <= value + value * elapsed_s / 60 + 1
        ),
    ),
    "concurrent": Case(
        value=2,
        reason=Reason.OVERLOADED,
        says=b"",
        asked={"timeout_s": 0.5},
        holds=lambda door, value, _: door.most_open == value,
    ),
    "concurrent_https": Case(
        value=2,
        reason=Reason.OVERLOADED,
        says=b"",
        asked={"timeout_s": 0.5, "use_tls": True},
        holds=lambda door, value, _: door.most_open == value,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operators_limit_holds_whatever_the_plan_says(name: str, tmp_path: Path) -> None:
    """At the door no more is seen than probe.toml allows, and every slot beyond has its reason."""
    case = OPERATORS[name]
    with Coordinator() as coordinator, Door(says=case.says) as door:
        checks = asking(door, **case.asked)
        coordinator.behaviour.plan = Plan(version=1, checks=checks, heartbeat_s=0.5, flush_s=0.1)
        state = enrolled(tmp_path, coordinator)
        began_s = time.monotonic()
        with probing(state, section("limits", {**ROOMY, name: case.value})):
            coordinator.wait(lambda seen: _refused(seen.rows, case.reason) >= 3 * MANY)
            coordinator.wait(lambda seen: any(row.state is State.MEASURED for row in seen.rows))
        assert case.holds(door, case.value, time.monotonic() - began_s)
    reasons = Counter(row.reason for row in coordinator.seen.rows)
    assert set(reasons) <= {None, case.reason, Reason.STOPPED}


def _refused(rows: list[Result], reason: Reason) -> int:
    return sum(row.reason is reason for row in rows)


class Ground:
    """An engine whose checks never end by themselves, under a virtual clock."""

    def __init__(self, given: HostLimits) -> None:
        self.running: Counter[Kind] = Counter()
        self.most: Counter[Kind] = Counter()
        self.rows: list[Result] = []
        begun_s = trio.current_time()
        clocks = Clocks(lambda: START_US + round((trio.current_time() - begun_s) * 1e6))
        runner = Runner(run=self._run, unsupported=lambda _check: None)
        self.engine = Engine("probe-1", clocks=clocks, limits=given, runner=runner, keep=self._keep)

    def _keep(self, row: Result, _certificates: object) -> None:
        self.rows.append(row)

    async def _run(self, check: Check, _slot_at_us: int) -> Outcome:
        self.running[check.kind] += check.packets
        self.most[check.kind] = max(self.most[check.kind], self.running[check.kind])
        with trio.move_on_after(5):
            await trio.sleep_forever()
        self.running[check.kind] -= check.packets
        return Outcome(result=a_row(0, check_no=check.check_no), attempts=())

    async def live(self, checks: tuple[Check, ...], seconds: float) -> None:
        """Run them for so long."""
        self.engine.adopt(checks)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.engine.run)
            with trio.move_on_after(seconds):
                await trio.sleep_forever()
            self.engine.stop()


@pytest.mark.parametrize(
    ("fields_of", "given", "most"),
    [
        ({"kind": Kind.ICMP, "port": None, "packets": 3}, {"outstanding_icmp": 7}, 6),
        ({"kind": Kind.TRACE, "packets": 1, "max_hops": 8}, {}, limits.TRACES_MAX),
    ],
)
async def test_what_no_door_can_count_is_counted_at_the_engine(
    autojump_clock: MockClock, fields_of: dict[str, Any], given: dict[str, Any], most: int
) -> None:
    """Echo requests outstanding and traces under way stay below their bounds, and reach them."""
    ground = Ground(HostLimits(checks_per_s=1000, per_target_per_minute=60000, **given))
    checks = tuple(a_check(n, interval_s=1, **fields_of) for n in range(1, MANY + 1))
    await ground.live(checks, 60)
    assert ground.most == {fields_of["kind"]: most}
    assert _refused(ground.rows, Reason.OVERLOADED) > MANY


def test_every_limit_of_the_operator_is_tried() -> None:
    """A new key of [limits] needs its case."""
    assert {field.name for field in fields(HostLimits)} == {*OPERATORS, "outstanding_icmp"}


def test_the_spool_stays_below_its_cap(tmp_path: Path) -> None:
    """A coordinator that acknowledges nothing cannot fill the host's disk."""
    cap_mib = 1 / 16
    with Coordinator() as coordinator, Door(says=ANSWER) as door:
        coordinator.behaviour.ack = False
        checks = asking(door, check_id="c" * 1000, interval_s=0.2)
        coordinator.behaviour.plan = Plan(version=1, checks=checks, heartbeat_s=0.2, flush_s=0.05)
        state = enrolled(tmp_path, coordinator)
        toml = section("limits", ROOMY) + section("spool", {"cap_mib": cap_mib})
        with probing(state, toml):
            coordinator.wait(
                lambda seen: any(beat.evicted_rows for beat in seen.heartbeats), timeout_s=60
            )
            biggest = max(beat.spool_bytes for beat in coordinator.seen.heartbeats)
        kept = sum(path.stat().st_size for path in (state / "spool").iterdir())
    assert 0 < biggest <= cap_mib * (1 << 20)
    assert kept <= cap_mib * (1 << 20)


def test_a_silent_coordinator_is_left_after_the_deadline(tmp_path: Path) -> None:
    """A session in which nothing is answered ends after [link] reply_deadline_s, and a new one begins."""
    link = {"reply_deadline_s": 0.5, "backoff_base_s": 0.05, "backoff_cap_s": 0.1}
    with Coordinator() as coordinator:
        coordinator.behaviour.answer_clock = False
        coordinator.behaviour.plan = Plan(version=1, checks=(), heartbeat_s=0.2, flush_s=0.1)
        state = enrolled(tmp_path, coordinator)
        with probing(state, section("link", link)):
            coordinator.wait(lambda seen: len(seen.hellos) >= 3)


# --- A plan's own caps, as they are run ----------------------------------------------------------


def test_the_caps_of_a_check_are_kept(tmp_path: Path) -> None:
    """A body is read up to its cap, silence waited for up to its timeout, a circle gone round as told."""
    long = b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 300_000
    with Coordinator() as made, Door(says=long) as big, Door() as mute, Door() as circle:
        circle.says = (
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n"
            b"Location: http://127.0.0.1:%d/\r\n\r\n" % circle.port
        )
        common = {"kind": Kind.HTTP, "host": LOCAL, "interval_s": 1.0}
        checks = (
            a_check(1, port=big.port, body_cap_bytes=1000, **common),
            a_check(2, port=mute.port, timeout_s=0.3, **common),
            a_check(3, port=circle.port, follow_redirects=2, **common),
        )
        made.behaviour.plan = Plan(version=1, checks=checks, heartbeat_s=0.5, flush_s=0.1)
        with probing(enrolled(tmp_path, made), section("limits", ROOMY)):
            made.wait(lambda seen: Counter(r.check_no for r in seen.rows)[3] >= 2)
            made.wait(lambda seen: {row.check_no for row in seen.rows} == {1, 2, 3})
    rows = {row.check_no: row for row in made.seen.rows if row.state is State.MEASURED}
    assert (rows[1].failure, rows[1].body_bytes) == (None, 1000)
    assert rows[2].failure is Failure.TIMEOUT
    assert rows[3].failure is Failure.HTTP_REDIRECT
    counted = Counter(row.check_no for row in made.seen.rows if row.state is State.MEASURED)
    assert circle.connections <= 3 * (counted[3] + 1)
    assert mute.most_open == 1


# --- What no plan may ask ------------------------------------------------------------------------

TRACE: Final = {"kind": Kind.TRACE, "packets": 1, "max_hops": 8}
BEYOND: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "INTERVAL_MIN_S": ({"interval_s": 0.19}, "interval_s is 0.19"),
    "INTERVAL_MAX_S": ({"interval_s": 86_401.0}, "interval_s is 86401"),
    "PORT_MAX": ({"port": 65_536}, "port is 65536"),
    "PACKETS_MAX": ({"kind": Kind.ICMP, "port": None, "packets": 17}, "packets is 17"),
    "TIMEOUT_MAX_S": ({"timeout_s": 61.0}, "timeout_s is 61"),
    "BODY_CAP_MAX": ({"body_cap_bytes": (1 << 20) + 1}, "body_cap_bytes is 1.04858e+06"),
    "REDIRECTS_MAX": ({"follow_redirects": 11}, "follow_redirects is 11"),
    "HOPS_MAX": ({**TRACE, "max_hops": 65}, "max_hops is 65"),
    "TRACE_PACKETS_MAX": ({**TRACE, "packets": 4, "max_hops": 49}, "packets times max_hops is 196"),
    "CONFIRMATIONS_MAX": (
        {"confirm_after_s": (1.0, 2.0, 3.0, 4.0)},
        "the number of confirm_after_s is 4",
    ),
    "CONFIRM_AFTER_MAX_S": ({"confirm_after_s": (301.0,)}, "confirm_after_s is 301"),
    "TEXT_MAX": ({"path": "/" * 2049}, "path has 2049 characters"),
    "ITEMS_MAX": ({"expect_status": (200,) * 513}, "expect_status has 513"),
}
PLANS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "FLUSH_MIN_S": ({"flush_s": 0.04}, "flush_s is 0.04"),
    "PACE_MAX_S": ({"heartbeat_s": 3601.0}, "heartbeat_s is 3601"),
}
ELSEWHERE: Final = {
    "TRACES_MAX",  # at the engine, above
    "TARGETS_MAX",  # of memory, not of traffic: tests/probe/core/test_limits.py
    "ONCE_CHECKS_MAX",  # below, with the age
    "ONCE_AGE_MAX_US",
    "CHECKS_MAX",  # below
}


def test_every_cap_of_a_plan_is_tried() -> None:
    """A new constant of probe.core.limits needs its case."""
    named = {name for name in vars(limits) if name.isupper() and ("_MAX" in name or "_MIN" in name)}
    assert named == {*BEYOND, *PLANS, *ELSEWHERE}


def test_a_plan_that_asks_too_much_is_refused_whole(tmp_path: Path) -> None:
    """Each bound is named in the log; not one packet of such a plan leaves; the plan in force goes on."""
    with Coordinator() as coordinator, Door(says=ANSWER) as good, Door(says=ANSWER) as canary:
        fine = a_check(1, kind=Kind.HTTP, host=LOCAL, port=good.port, interval_s=0.5)
        in_force = Plan(version=1, checks=(fine,), heartbeat_s=0.2, flush_s=0.1)
        coordinator.behaviour.plan = in_force
        state = enrolled(tmp_path, coordinator)
        with probing(state, section("limits", ROOMY)):
            coordinator.wait(lambda seen: len(seen.rows) >= 2)
            # One at a time: of plans that come together a probe looks at the last alone.
            for down, word in _excessive(in_force, canary, coordinator):
                coordinator.push(down)
                _wait_for(state / "log", word)
            before = len(coordinator.seen.rows)
            coordinator.wait(lambda seen: len(seen.rows) >= before + 3)
        assert canary.connections == 0
    assert {beat.plan_version for beat in coordinator.seen.heartbeats[1:]} == {1}
    assert {row.check_no for row in coordinator.seen.rows} == {1}


def _excessive(
    in_force: Plan, canary: Door, coordinator: Coordinator
) -> Iterator[tuple[fleet_pb2.Down, str]]:
    """A message for each bound, with harmless checks of the canary beside, and what the log says of it."""
    beside = {"kind": Kind.HTTP, "host": LOCAL, "port": canary.port, "interval_s": 0.2}
    harmless = a_check(3, **beside)
    made: list[tuple[Plan, str]] = []
    for changes, word in BEYOND.values():
        excessive = a_check(2, **{**beside, **changes})
        made.append((replace(in_force, checks=(excessive, harmless)), word))
    for changes, word in PLANS.values():
        made.append((replace(in_force, checks=(harmless,), **changes), word))
    crowd = tuple(replace(harmless, check_no=n) for n in range(1, limits.CHECKS_MAX + 2))
    made.append((replace(in_force, checks=crowd), "plan has 20001 checks; at most 20000 are run"))
    for version, (plan, word) in enumerate(made, 2):
        signed = coordinator.authority.sign(replace(plan, version=version))
        yield fleet_pb2.Down(plan=signed), word
    for plan, word in _excessive_once(harmless):
        yield fleet_pb2.Down(once=coordinator.authority.sign(plan, once=True)), word


def _excessive_once(harmless: Check) -> Iterator[tuple[Plan, str]]:
    """Requests to run at once: too many, and one from another time."""
    now_us = time.time_ns() // 1000
    check = replace(harmless, interval_s=0.0)
    crowd = tuple(replace(check, check_no=n) for n in range(1, limits.ONCE_CHECKS_MAX + 2))
    yield (
        Plan(version=100, checks=crowd, issued_at_us=now_us),
        "25 checks; at most 24 are run at once",
    )
    old_us = now_us - limits.ONCE_AGE_MAX_US - 60_000_000
    yield Plan(version=101, checks=(check,), issued_at_us=old_us), "it was issued at another time"


def _wait_for(log: Path, word: str) -> None:
    """Until the log says of a refused plan what is wrong with it."""
    deadline_s = time.monotonic() + 30
    while not any("plan_refused" in line and word in line for line in log.read_text().splitlines()):
        assert time.monotonic() < deadline_s, f"{word!r} not in the log: {log.read_text()[-2000:]}"
        os.sched_yield()
