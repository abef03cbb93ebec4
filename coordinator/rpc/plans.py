"""The signed plan of each probe, and the record of which probe follows which plan since when.

Plans of one content share a number, so a configuration of thousands of probes is serialised a few
times; each probe is sent it under a signature that names it, and refuses another's. The number changes
with the content alone: a restart sends nobody another plan. A plan counts as followed when the probe
says its number, not when it was sent: what it never received was never due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, Protocol

import structlog

from coordinator.core.assigning import Allotment, Candidate, Key, allot, components_of
from coordinator.core.planner import plan_for
from coordinator.core.registry import Probe
from coordinator.rpc.authority import Authority
from coordinator.store.catalogue import Catalogue, Followed, following, record_following
from coordinator.store.writer import Store
from proto.charges import refused
from proto.codec import plan_seal, plan_to_wire
from proto.gen import fleet_pb2, plan_pb2
from proto.model import HostLimits, Kind, Plan

RETRY_S = 2.0
"""Between two tries to record while the store is in trouble."""

RECORDED_AT_ONCE: Final = 500
"""Probes whose plans are written in one piece; reports are committed between two pieces."""

ALLOT_AFTER_S: Final = 1.0
"""A fleet that comes back at once is looked at once, not a thousand times."""

LOOK_S: Final = 30.0
"""How often it is looked whether somebody was away for too long."""

LEAP: Final = 100
"""A start's first new number is the next multiple: a number that was sent but not yet recorded when the
coordinator died is not given to another plan."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A plan, and its bytes."""

    plan: Plan
    wire: bytes


class Fleet(Protocol):
    """Where the planner finds the probes."""

    def probes(self) -> Iterable[Probe]:
        """All that may be given something to do."""

    def candidate(self, probe: Probe) -> Candidate:
        """One of them as it is seen now."""


class Plans:
    """Makes, signs and remembers plans. Used on the event loop only."""

    def __init__(self, authority: Authority, store: Store, *, fleet: Fleet) -> None:
        self._authority = authority
        self._store = store
        self._fleet = fleet
        self._catalogue: Catalogue | None = None
        self._allotment = Allotment()
        self._issued: dict[frozenset[Key], Issued] = {}
        self._numbers: dict[tuple[int, frozenset[int]], int] = {}  # by content
        self._last_number = 0
        self._allotted: dict[str, Candidate] = {}
        self._current: dict[str, tuple[Candidate, Issued]] = {}
        self._refused: dict[tuple[int, HostLimits], tuple[str, ...]] = {}  # by number of the plan
        self._following: dict[str, int] = {}
        self._pending: dict[str, tuple[Followed | None, int]] = {}
        self._wake = asyncio.Event()
        self._stale = asyncio.Event()
        self._log = structlog.get_logger("plans")

    async def start(self, catalogue: Catalogue) -> None:
        """Take the first configuration and what probes followed before."""
        recorded = await self._store.run_in_store(following)
        self._following = {probe_id: one.number for probe_id, one in recorded.by_probe.items()}
        self._numbers = {
            (one.config_version, one.check_nos): one.number for one in recorded.by_probe.values()
        }
        self._last_number = -(-recorded.newest // LEAP) * LEAP
        self.renew(catalogue)

    def renew(self, catalogue: Catalogue) -> None:
        """Another configuration is in force."""
        self._catalogue = catalogue
        self._issued.clear()
        self._refused.clear()
        self._allotted.clear()
        self._allot()

    # --- who measures what ------------------------------------------------------------------------

    def look_again(self) -> None:
        """A probe was enrolled, revoked or quarantined, or is believed again."""
        self._stale.set()

    async def watch(self, push: Callable[[], None]) -> None:
        """Give places anew when the fleet changed, for ever; `push` sends the plans that differ."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._stale.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(ALLOT_AFTER_S)
            self._stale.clear()
            if self._allot():
                push()

    def _allot(self) -> bool:
        """Decide over the whole fleet; True when anything is decided otherwise than before."""
        assert self._catalogue is not None, "start() comes first"
        before = self._allotment
        candidates = {
            probe.probe_id: self._fleet.candidate(probe) for probe in self._fleet.probes()
        }
        if candidates == self._allotted:
            return False
        self._allotted = candidates
        self._allotment = allot(self._catalogue.config, candidates.values())
        self._current.clear()
        for host in self._allotment.spared.keys() - before.spared.keys():
            self._log.warning(
                "target_over_ceiling",
                host=host,
                left_out=len(self._allotment.spared[host]),
                fix="raise limits.fleet_per_target_per_minute or its interval_s, or use groups",
            )
        return self._allotment != before

    # --- plans ------------------------------------------------------------------------------------

    def of(self, probe: Probe) -> Issued:
        """The plan of this probe now; from here on its rows may be of these checks."""
        assert self._catalogue is not None, "start() comes first"
        candidate = self._fleet.candidate(probe)
        known = self._current.get(probe.probe_id)
        if known is not None and known[0] == candidate:
            return known[1]
        if self._allotted.get(probe.probe_id) != candidate:
            self._stale.set()  # it is new, is back, or says another thing of itself
        components = components_of(candidate, self._catalogue.config, self._allotment)
        if components not in self._issued:
            self._issued[components] = self._issue(self._catalogue, components)
        issued = self._issued[components]
        self._current[probe.probe_id] = (candidate, issued)
        checks = issued.plan.checks
        self._store.allow(
            probe.probe_id,
            frozenset(check.check_no for check in checks),
            traces=frozenset(check.check_no for check in checks if check.kind is Kind.TRACE),
        )
        return issued

    def refused(self, probe: Probe, limits: HostLimits | None) -> tuple[str, ...]:
        """What of its plan these limits of its host refuse, a sentence each."""
        if limits is None:
            return ()
        plan = self.of(probe).plan
        found = self._refused.get((plan.version, limits))
        if found is None:
            found = self._refused[plan.version, limits] = refused(plan.checks, limits)
        return found

    def signed(self, probe: Probe, *, is_old: bool = False) -> fleet_pb2.Down:
        """The plan of this probe as it is sent to it, and to no other; `is_old`: by the old CA."""
        wire, probe_id = self.of(probe).wire, probe.probe_id
        signature = self._authority.sign(plan_seal(wire, probe_id=probe_id), is_old=is_old)
        signed = plan_pb2.SignedPlan(plan=wire, signature=signature, probe_id=probe_id)
        return fleet_pb2.Down(plan=signed)

    def signed_once(self, plan: Plan, *, probe_id: str, is_old: bool = False) -> fleet_pb2.Down:
        """Checks that one probe is to run once."""
        wire = plan_to_wire(plan)
        sealed = plan_seal(wire, probe_id=probe_id, once=True)
        signature = self._authority.sign(sealed, is_old=is_old)
        signed = plan_pb2.SignedPlan(plan=wire, signature=signature, probe_id=probe_id)
        return fleet_pb2.Down(once=signed)

    def _issue(self, catalogue: Catalogue, components: frozenset[Key]) -> Issued:
        plan = plan_for(
            catalogue.definitions,
            components,
            config=catalogue.config,
            version=self._number(catalogue, components),
            issued_at_us=catalogue.loaded_at_us,
        )
        self._log.info(
            "plan_issued",
            plan_version=plan.version,
            config_version=catalogue.version,
            components=len(components),
            checks=len(plan.checks),
        )
        return Issued(plan, plan_to_wire(plan))

    def _number(self, catalogue: Catalogue, components: frozenset[Key]) -> int:
        """The number that this content always had, else the next one."""
        check_nos = frozenset(
            definition.check.check_no
            for definition in catalogue.definitions
            if (definition.component.service, definition.component.name) in components
        )
        content = (catalogue.version, check_nos)
        if content not in self._numbers:
            self._last_number += 1
            self._numbers[content] = self._last_number
        return self._numbers[content]

    # --- who follows what -------------------------------------------------------------------------

    def note(self, probe: Probe, *, version: int, at_us: int) -> None:
        """The probe says that it follows this version."""
        assert self._catalogue is not None, "start() comes first"
        plan = self.of(probe).plan
        if version == plan.version != self._following.get(probe.probe_id):
            self._following[probe.probe_id] = version
            self._pending[probe.probe_id] = (Followed(plan, self._catalogue.version), at_us)
            self._wake.set()

    def forget(self, probe_id: str, *, at_us: int) -> None:
        """Nothing is due from this probe any more."""
        self._following.pop(probe_id, None)
        self._pending[probe_id] = (None, at_us)
        self._wake.set()

    async def record(self) -> None:
        """Write down who follows what, for ever; many at once after a restart."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write down what was noted since; what the store does not take is kept and tried again."""
        pending, self._pending = self._pending, {}
        while pending:
            part = dict(islice(pending.items(), RECORDED_AT_ONCE))
            try:
                await self._store.run_in_store(partial(record_following, changes=part))
            except Exception as error:  # noqa: BLE001 whatever ails the store, the server goes on
                self._log.warning("plan_record_waits", error=str(error)[:300])
                self._pending = {**pending, **self._pending}
                await asyncio.sleep(RETRY_S)
                self._wake.set()
                return
            for probe_id in part:
                del pending[probe_id]
