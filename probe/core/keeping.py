"""What the state directory of a probe holds, and what its limits allow: rows of the doctor's table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from probe.core.finding import Finding, broken, limited, well
from probe.core.sighting import Sighting
from proto.charges import contacts_of, never_beside
from proto.model import Check, Control, HostLimits, Kind

FREE_MIB_MIN: Final = 512.0
"""The spool's usual cap, and as much again for whoever else writes."""

FULL_SHARE: Final = 0.8
"""Of its cap: from here on a spool is about to evict."""

FILES_PER_CHECK: Final = 2
"""A check under way holds a socket, and its search for an address another."""

FILES_BESIDE: Final = 128
"""The spool, the session, ICMP and trace sockets, and what Python keeps open."""

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolReading:
    """What waits in the spool. Rows of a segment count until all of it is acknowledged."""

    rows: int
    size_bytes: int
    cap_bytes: int
    evicted_rows: int
    oldest_age_s: float | None  # None: it is empty


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReading:
    """The state directory. None: there is none, or it does not hold that."""

    free_mib: float | None = None
    spool: SpoolReading | None = None
    spool_trouble: str | None = None
    remembered: int | None = None  # names, times families, with an address of the last day
    checks: tuple[Check, ...] = ()  # of the plan in force
    plan: str | None = None  # which plan that is, in words
    plan_trouble: str | None = None
    sighting: Sighting | None = None  # how the coordinator saw it last


def find_kept(state: StateReading) -> tuple[Finding, ...]:
    """Disk, spool, plan and memory."""
    return (*_disk(state), *_spool(state), *_plan(state), *_memory(state))


def _disk(state: StateReading) -> tuple[Finding, ...]:
    free_mib = state.free_mib
    if free_mib is None:
        return ()
    if free_mib >= FREE_MIB_MIN:
        return (well("disk", f"{free_mib:.0f} MiB are free"),)
    finding = limited(
        "disk",
        f"{free_mib:.0f} MiB are free where the spool lies",
        costs="rows are evicted early when the coordinator is away",
        fix="# free some space, or set cap_mib in section [spool] of probe.toml",
    )
    return (finding,)


def _spool(state: StateReading) -> tuple[Finding, ...]:
    if state.spool_trouble is not None:
        finding = broken(
            "spool",
            state.spool_trouble,
            costs="the probe does not start",
            fix="# run doctor as the user that runs the probe; else repair owner and mode",
        )
        return (finding,)
    spool = state.spool
    if spool is None:
        return ()
    if spool.size_bytes < FULL_SHARE * spool.cap_bytes:
        return (well("spool", _contents(spool)),)
    finding = limited(
        "spool",
        _contents(spool),
        costs="it is about to evict rows, which nobody will see",
        fix="# mend the way to the coordinator, or raise cap_mib in [spool] of probe.toml",
    )
    return (finding,)


def _contents(spool: SpoolReading) -> str:
    oldest = "" if spool.oldest_age_s is None else f", oldest {_span(spool.oldest_age_s)}"
    return (
        f"{spool.rows} rows wait{oldest}; {spool.size_bytes / _MIB:.1f} of "
        f"{spool.cap_bytes / _MIB:.0f} MiB; {spool.evicted_rows} rows were evicted so far"
    )


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _plan(state: StateReading) -> tuple[Finding, ...]:
    if state.plan is not None:
        return (well("plan", state.plan),)
    if state.plan_trouble is None:
        return ()
    finding = limited(
        "plan",
        state.plan_trouble,
        costs="nothing is measured before the coordinator sends one",
        fix="# none where the coordinator is reached: a session brings it",
    )
    return (finding,)


def _memory(state: StateReading) -> tuple[Finding, ...]:
    if state.remembered is None:
        return ()
    needing = {
        (check.host, check.family) for check in state.checks if check.control is Control.REMEMBERED
    }
    says = f"{state.remembered} names have an address of the last 24 h"
    if not needing or state.remembered:
        return (well("remembered addresses", says),)
    finding = limited(
        "remembered addresses",
        f"{says}; {len(needing)} of the plan need one",
        costs="remembered checks end as not_run: unsupported until their names resolved once",
        fix="# none but time: every resolution that goes well is remembered",
    )
    return (finding,)


def find_limits(
    limits: HostLimits, checks: Iterable[Check], *, open_files: int
) -> tuple[Finding, ...]:
    """Whether what the operator allows lets everything run that a plan may ask for."""
    return (_open_files(limits, open_files), _beside(limits, checks))


def _open_files(limits: HostLimits, open_files: int) -> Finding:
    needed = FILES_BESIDE + FILES_PER_CHECK * limits.concurrent
    if open_files >= needed:
        return well("open files", f"up to {open_files}, and {needed} are needed at most")
    return limited(
        "open files",
        f"at most {open_files}; {limits.concurrent} checks at once may need {needed}",
        costs="many checks at once end as local_no_buffer",
        fix=f"ulimit -n {needed}\n# in the unit: LimitNOFILE={needed}",
    )


_USUAL_TRACE: Final = Check(check_no=0, check_id="a trace", kind=Kind.TRACE, host="")


def _beside(limits: HostLimits, checks: Iterable[Check]) -> Finding:
    """The dearest run beside the schedule: a trace of the plan, or the usual one."""
    traces = [check for check in checks if check.kind is Kind.TRACE] or [_USUAL_TRACE]
    trace = max(traces, key=contacts_of)
    why = never_beside(trace, limits)
    if why is None:
        return well("traces", f"{contacts_of(trace)} contacts of their target each; allowed")
    return limited(
        "traces",
        f"none that a failure asks for can ever run: {why}",
        costs="each ends as not_run: policy",
        fix="# set in section [limits] of probe.toml:\n"
        f"per_target_per_minute = {max(limits.per_target_per_minute, 2 * contacts_of(trace)):g}\n"
        f"checks_per_s = {max(limits.checks_per_s, 2.0):g}",
    )
