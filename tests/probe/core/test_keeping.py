"""What the state directory and the limits of a probe mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.finding import Finding, Level
from probe.core.keeping import SpoolReading, StateReading, find_kept, find_limits
from probe.core.limits import Gate
from proto.charges import never_beside
from proto.model import Check, Control, HostLimits, Kind

EMPTY = SpoolReading(rows=0, size_bytes=0, cap_bytes=256 << 20, evicted_rows=0, oldest_age_s=None)
TRACE = Check(check_no=2, check_id="x/web/trace", kind=Kind.TRACE, host="x.test")
REMEMBERED = Check(
    check_no=3, check_id="r", kind=Kind.TCP, host="x.test", control=Control.REMEMBERED
)


def only(state: StateReading) -> Finding:
    """The one finding."""
    (finding,) = find_kept(state)
    return finding


def test_nothing_is_said_of_what_is_not_there() -> None:
    """Before an enrolment there is no spool, no plan, no memory and no disk to fill."""
    assert find_kept(StateReading()) == ()


@pytest.mark.parametrize(
    ("age_s", "says"),
    [(None, "7 rows wait; "), (90, "oldest 90 s"), (120, "2 min"), (9000, "2 h"), (200_000, "2 d")],
)
def test_the_spool_in_words(age_s: float | None, says: str) -> None:
    """Rows, age of the oldest, bytes of the cap, and what was evicted."""
    spool = replace(EMPTY, rows=7, size_bytes=3 << 20, evicted_rows=5, oldest_age_s=age_s)
    finding = only(StateReading(spool=spool))
    assert finding.level is Level.OK
    assert says in finding.says
    assert "3.0 of 256 MiB; 5 rows were evicted so far" in finding.says


def test_a_spool_that_is_nearly_full() -> None:
    """Before it evicts."""
    finding = only(StateReading(spool=replace(EMPTY, size_bytes=250 << 20)))
    assert finding.level is Level.LIMITED
    assert "cap_mib" in finding.fix


@pytest.mark.parametrize(
    ("state", "level", "says"),
    [
        (StateReading(spool_trouble="not yours"), Level.BROKEN, "not yours"),
        (StateReading(plan="version 3"), Level.OK, "version 3"),
        (StateReading(plan_trouble="none yet"), Level.LIMITED, "none yet"),
        (StateReading(remembered=0), Level.OK, "0 names"),
        (StateReading(remembered=4, checks=(REMEMBERED,)), Level.OK, "4 names"),
        (StateReading(remembered=0, checks=(REMEMBERED, TRACE)), Level.LIMITED, "1 of the plan"),
        (StateReading(free_mib=600.0), Level.OK, "600 MiB"),
        (StateReading(free_mib=10.0), Level.LIMITED, "10 MiB"),
    ],
)
def test_what_is_kept(state: StateReading, level: Level, says: str) -> None:
    """Each in words; what is not well has a cost and a remedy."""
    finding = only(state)
    assert (finding.level, says in finding.says) == (level, True)
    assert bool(finding.costs and finding.fix) == (level is not Level.OK)


def test_a_trace_that_no_limit_lets_run() -> None:
    """The dearest trace of the plan, or the usual one, against half of each bucket."""
    files, traces = find_limits(HostLimits(), (), open_files=528)
    assert (files.level, traces.level) == (Level.OK, Level.OK)
    tight = HostLimits(per_target_per_minute=20, checks_per_s=1)
    _, traces = find_limits(tight, (), open_files=528)
    assert traces.level is Level.LIMITED
    assert "charged 12 and may use half of limits.per_target_per_minute, which is 20" in traces.says
    assert "per_target_per_minute = 24\nchecks_per_s = 2" in traces.fix
    small = replace(TRACE, packets=1, max_hops=16)
    assert find_limits(replace(tight, checks_per_s=2), (small,), open_files=1)[1].level is Level.OK
    slow = find_limits(HostLimits(checks_per_s=1), (small,), open_files=1)[1]
    assert "half of limits.checks_per_s" in slow.says


@given(
    per_minute=st.floats(0.1, 100),
    per_s=st.floats(0.1, 5),
    packets=st.integers(1, 3),
    hops=st.integers(1, 64),
)
def test_what_is_said_never_to_run_never_runs(
    per_minute: float, per_s: float, packets: int, hops: int
) -> None:
    """The gate, with its buckets full, agrees with what is told of it."""
    limits = HostLimits(per_target_per_minute=per_minute, checks_per_s=per_s)
    trace = replace(TRACE, packets=packets, max_hops=hops)
    refused = Gate(limits, now_s=0.0).admit(trace, now_s=0.0, spare=True)
    assert (refused is not None) == (never_beside(trace, limits) is not None)
