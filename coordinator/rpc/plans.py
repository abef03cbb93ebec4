"""The signed plan of each probe, and the record of which probe follows which plan since when.

Probes with the same services share a plan, so a configuration of thousands of probes is serialised a
few times; each is sent it under a signature that names it, and refuses another's. A plan counts as followed when the probe says its version, not when it was sent: what it
never received was never due.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

import structlog

from coordinator.core.planner import plan_for, services_of
from coordinator.core.registry import Probe
from coordinator.rpc.authority import Authority
from coordinator.store.catalogue import Catalogue, following, record_following
from coordinator.store.writer import Store
from proto.codec import plan_seal, plan_to_wire
from proto.gen import fleet_pb2, plan_pb2
from proto.model import Kind, Plan

RETRY_S = 2.0
"""Between two tries to record while the store is in trouble."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A plan, and its bytes."""

    plan: Plan
    wire: bytes


class Plans:
    """Makes, signs and remembers plans. Used on the event loop only."""

    def __init__(self, authority: Authority, store: Store) -> None:
        self._authority = authority
        self._store = store
        self._issued: dict[frozenset[str] | None, Issued] = {}
        self._catalogue: Catalogue | None = None
        self._following: dict[str, int] = {}
        self._pending: dict[str, tuple[Plan | None, int]] = {}
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("plans")

    async def start(self, catalogue: Catalogue) -> None:
        """Take the first configuration and what probes followed before."""
        self.renew(catalogue)
        self._following = await self._store.run_in_store(following)

    def renew(self, catalogue: Catalogue) -> None:
        """Another configuration is in force."""
        self._catalogue = catalogue
        self._issued.clear()

    def of(self, probe: Probe) -> Issued:
        """The plan of this probe now; from here on its rows may be of these checks."""
        assert self._catalogue is not None, "start() comes first"
        services = services_of(probe.vantage.labels, self._catalogue.config.groups)
        if services not in self._issued:
            self._issued[services] = self._issue(self._catalogue, services)
        issued = self._issued[services]
        checks = issued.plan.checks
        self._store.allow(
            probe.probe_id,
            frozenset(check.check_no for check in checks),
            traces=frozenset(check.check_no for check in checks if check.kind is Kind.TRACE),
        )
        return issued

    def signed(self, probe: Probe) -> fleet_pb2.Down:
        """The plan of this probe as it is sent to it, and to no other."""
        wire, probe_id = self.of(probe).wire, probe.probe_id
        signature = self._authority.sign(plan_seal(wire, probe_id=probe_id))
        signed = plan_pb2.SignedPlan(plan=wire, signature=signature, probe_id=probe_id)
        return fleet_pb2.Down(plan=signed)

    def _issue(self, catalogue: Catalogue, services: frozenset[str] | None) -> Issued:
        plan = plan_for(
            catalogue.definitions,
            services,
            config=catalogue.config,
            version=catalogue.version,
            issued_at_us=catalogue.loaded_at_us,
        )
        return Issued(plan, plan_to_wire(plan))

    def note(self, probe: Probe, *, version: int, at_us: int) -> None:
        """The probe says that it follows this version."""
        plan = self.of(probe).plan
        if version == plan.version != self._following.get(probe.probe_id):
            self._following[probe.probe_id] = version
            self._pending[probe.probe_id] = (plan, at_us)
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
        if not pending:
            return

        try:
            await self._store.run_in_store(partial(record_following, changes=pending))
        except Exception as error:  # noqa: BLE001 whatever ails the store, the server goes on
            self._log.warning("who follows which plan is not written yet", error=str(error)[:300])
            self._pending = {**pending, **self._pending}
            await asyncio.sleep(RETRY_S)
            self._wake.set()
