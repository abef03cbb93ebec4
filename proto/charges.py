"""What a plan asks of a host, and what the host's limits refuse of it: one arithmetic for both ends.

The probe charges its buckets by it (probe.core.limits), and the coordinator says beforehand which
slots will end as `not_run`, so that nobody waits for rows that a host does not allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from proto.model import Check, HostLimits, Kind

TRACE_WINDOW: Final = 8
"""Packets of a trace on their way at once: what a target may get beyond those that were meant for it,
and what a run is charged one contact for."""

SHOWN_MAX: Final = 5
"""Targets and checks named: a plan of thousands may exceed a limit everywhere."""


def target_of(check: Check) -> str:
    """Who receives the packets of a check, as far as the plan tells, in one spelling."""
    name = check.server if check.kind is Kind.DNS and check.server else check.pinned or check.host
    return name.lower().rstrip(".")


def contacts_of(check: Check) -> int:
    """What a run is charged at its target: a trace one contact for every TRACE_WINDOW packets it may send."""
    return -(-trace_packets(check) // TRACE_WINDOW) if check.kind is Kind.TRACE else 1


def never_beside(check: Check, limits: HostLimits) -> str | None:
    """Why a run beside the schedule can never be admitted; None: it can, with the buckets full.

    Half of each bucket is kept for slots, so twice what a run is charged must fit.
    """
    contacts = contacts_of(check)
    for name, size, tokens in (
        ("per_target_per_minute", limits.per_target_per_minute, contacts),
        ("checks_per_s", limits.checks_per_s, 1),
    ):
        if max(1.0, size) < 2 * tokens:
            return (
                f"it is charged {tokens} and may use half of limits.{name}, which is {size:g}; "
                f"{2 * tokens} is the least that lets it run"
            )
    return None


def trace_packets(check: Check) -> int:
    """Packets that a trace may send."""
    return max(1, check.packets) * check.max_hops


def refused(checks: Iterable[Check], limits: HostLimits) -> tuple[str, ...]:
    """What of a plan these limits refuse in the long run, a sentence each; empty = nothing.

    By averages, and by the names in the plan: several names of one address are one target to the probe
    alone, and slots that meet can find a small bucket empty that is large enough in the long run.
    """
    checks = tuple(checks)
    return (*_in_total(checks, limits), *_per_target(checks, limits), *_beside(checks, limits))


def _in_total(checks: tuple[Check, ...], limits: HostLimits) -> Iterator[str]:
    asked = sum(1 / check.interval_s for check in checks if check.interval_s)
    if asked > limits.checks_per_s:
        yield (
            f"{asked:.3g} slots fall due a second and limits.checks_per_s is {limits.checks_per_s:g}: "
            f"{_share(asked, limits.checks_per_s)} of all end as not_run: policy"
        )


def _per_target(checks: tuple[Check, ...], limits: HostLimits) -> Iterator[str]:
    asked: dict[str, float] = defaultdict(float)
    for check in checks:
        if check.interval_s:
            asked[target_of(check)] += contacts_of(check) * 60 / check.interval_s
    allowed = limits.per_target_per_minute
    beyond = {target: per_minute for target, per_minute in asked.items() if per_minute > allowed}
    for target, per_minute in sorted(beyond.items(), key=lambda one: -one[1])[:SHOWN_MAX]:
        yield (
            f"{target} is asked {per_minute:.3g} times a minute and limits.per_target_per_minute is "
            f"{allowed:g}: {_share(per_minute, allowed)} of its slots end as not_run: policy"
        )
    if len(beyond) > SHOWN_MAX:
        yield f"{len(beyond) - SHOWN_MAX} more targets are asked more often than that"


def _beside(checks: tuple[Check, ...], limits: HostLimits) -> Iterator[str]:
    wanted = {number for check in checks for number in check.on_failure}
    never = [
        (check, why)
        for check in checks
        if check.check_no in wanted and (why := never_beside(check, limits)) is not None
    ]
    if never:
        check, why = never[0]
        yield f"{len(never)} checks that a failure asks for never run, such as {check.check_id}: {why}"


def _share(asked: float, allowed: float) -> str:
    return f"{100 * (1 - allowed / asked):.0f} %"
