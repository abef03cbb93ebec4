"""Traces on request: an operator's, and the comparison with a vantage from where a target works.

A comparison is looked for after the failing trace was committed and in a task of its own: ingest
waits for none of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from coordinator.core.comparison import Ration, Standing, choose, spread
from coordinator.core.registry import Probe, ProbeState
from coordinator.rpc.desk import Desk
from coordinator.rpc.fleet import FleetDoor
from coordinator.store.rows import COMPARISON, OPERATOR, RequestRow
from coordinator.store.statements import statement
from proto.model import Check, Kind, SoundingsError

PROBES_MAX: Final = 50
"""Probes that one request asks at most: a trace is some ninety packets toward one target."""

RECENT_US: Final = 600 * 1_000_000
"""What was good longer ago says nothing of now."""


class TraceRefusedError(SoundingsError):
    """Nobody can be asked; the text says why and what to do."""


class Tracing:
    """Asks connected probes for traces. Used on the event loop only."""

    def __init__(self, desk: Desk, door: FleetDoor) -> None:
        self._desk = desk
        self._door = door
        self._ration = Ration()
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: set[int] = set()  # checks for which a working vantage is being looked for
        self._log = structlog.get_logger("tracing")

    def request(self, service: str, component: str, *, names: Sequence[str], count: int) -> str:
        """Ask probes by name, or `count` of those connected (0 = as many as may be).

        Raises TraceRefusedError when nobody can be asked.
        """
        able = {
            probe.name: (probe, checks)
            for probe in self._door.connected()
            if (checks := self._traces(probe, service, component))
        }
        missing = [name for name in names if name not in able]
        if missing:
            raise TraceRefusedError(
                f"--probes names {missing[0]!r}, which is not connected or has no trace of "
                f"{service}/{component}; able are {', '.join(sorted(able)) or 'none'}"
            )
        if len(set(names)) > PROBES_MAX:
            raise TraceRefusedError(
                f"--probes names {len(set(names))} probes; a target may be traced by {PROBES_MAX} "
                "at a time, name no more"
            )
        chosen = sorted(set(names)) or _spread(probe for probe, _ in able.values())
        chosen = chosen[: min(count or PROBES_MAX, PROBES_MAX)]
        if not chosen:
            raise TraceRefusedError(
                f"no connected probe has a trace of {service}/{component}; look at the name, at "
                "`trace` in the configuration, and at `soundings coordinator probes list`"
            )
        for name in chosen:
            probe, checks = able[name]
            for check in checks:
                self._run(probe.probe_id, check, why=OPERATOR)
        return f"asked {', '.join(chosen)}; the hops will be in the table hops"

    def ask(self, service: str, component: str, probe_ids: Iterable[str], *, why: str) -> int:
        """Have these probes, as far as they are connected, trace a component; gives how many do."""
        asked = 0
        present = {probe.probe_id: probe for probe in self._door.connected()}
        for probe_id in probe_ids:
            checks = (
                self._traces(present[probe_id], service, component) if probe_id in present else []
            )
            for check in checks:
                self._run(probe_id, check, why=why)
            asked += bool(checks)
        return asked

    def measures(self, probe: Probe, service: str, component: str) -> bool:
        """Is a component in the plan of a probe?"""
        prefix = f"{service}/{component}/"
        checks = self._desk.plans.of(probe).plan.checks
        return any(check.check_id.startswith(prefix) for check in checks)

    def _run(self, probe_id: str, check: Check, *, why: str) -> None:
        service, component = check.check_id.split("/")[:2]
        row = RequestRow(
            asked_at_us=self._desk.wall(),
            probe_id=probe_id,
            check_no=check.check_no,
            why=why,
            service=service,
            component=component,
        )
        self._desk.store.record(row)
        self._door.ask_run(probe_id, check.check_no)

    def _traces(self, probe: Probe, service: str, component: str) -> list[Check]:
        prefix = f"{service}/{component}/"
        return [
            check
            for check in self._desk.plans.of(probe).plan.checks
            if check.kind is Kind.TRACE and check.check_id.startswith(prefix)
        ]

    # --- comparison -------------------------------------------------------------------------------

    def saw_failure_runs(self, probe: Probe, check_nos: frozenset[int]) -> None:
        """Rows of these checks, made because another check failed, were committed for a probe."""
        for check in self._desk.plans.of(probe).plan.checks:
            if check.kind is not Kind.TRACE or check.check_no not in check_nos:
                continue
            if self._may(probe, check) and check.check_no not in self._looking:
                self._looking.add(check.check_no)
                task = asyncio.get_running_loop().create_task(self._compare(probe, check))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _may(self, failing: Probe, check: Check) -> bool:
        return self._ration.may(check.check_no, probe_id=failing.probe_id, now_us=self._desk.wall())

    async def _compare(self, failing: Probe, check: Check) -> None:
        try:
            good = await asyncio.to_thread(self._good, check)
        except Exception as error:  # noqa: BLE001  # whatever ails the store, a comparison can wait
            self._log.warning("comparison_failed", check=check.check_id, error=str(error)[:200])
            return
        finally:
            self._looking.discard(check.check_no)
        able = [
            Standing(probe_id=probe.probe_id, asn=probe.vantage.asn, is_good=probe.probe_id in good)
            for probe in self._door.connected()
            if probe.state
            is ProbeState.ENROLLED  # what is good for who is not believed is nobody's measure
            and any(
                check.check_no == one.check_no for one in self._desk.plans.of(probe).plan.checks
            )
        ]
        chosen = choose(able, failing_asn=failing.vantage.asn, turn=self._desk.spread())
        if chosen is not None and self._may(failing, check):
            self._ration.spend(check.check_no, probe_id=failing.probe_id, now_us=self._desk.wall())
            self._run(chosen, check, why=COMPARISON)
        self._log.info("comparison", check=check.check_id, failing=failing.probe_id, working=chosen)

    def _good(self, check: Check) -> frozenset[str]:
        """The probes from which the check's component answered of late."""
        service, component = check.check_id.split("/")[:2]
        standings = self.standings(service, component)
        return frozenset(probe_id for probe_id, good in standings.items() if good)

    def standings(self, service: str, component: str) -> dict[str, bool]:
        """By probe, whether a component answered it of late. Reads the store: not on the event loop."""
        asked = {
            "service": service,
            "component": component,
            "since_us": self._desk.wall() - RECENT_US,
        }
        with self._desk.store.cursor() as cursor:
            return dict(cursor.execute(statement("standings"), asked).fetchall())


def _spread(probes: Iterable[Probe]) -> list[str]:
    """Names of probes, so ordered that the first few sit in as many networks as can be."""
    return spread(Standing(probe_id=p.name, asn=p.vantage.asn, is_good=True) for p in probes)
