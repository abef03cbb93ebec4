"""A probe's link half around a fake coordinator: enrolled directory, spool, outbox, uplink."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from probe.io import enrol
from probe.io.clock import Clocks, wall_us
from probe.io.disk import Disk, OsDisk, Spool, SpoolSettings
from probe.io.outbox import Outbox
from probe.io.session import Ports
from probe.io.state import StateDirectory
from probe.io.uplink import Uplink
from probe.plans import PlanBook
from proto.gen import plan_pb2
from proto.model import Heartbeat, Hello, Plan
from tests.fakes.fleet import Coordinator, Seen
from tests.fakes.ledgers import START_US, a_row


class Vantage:
    """Everything of a probe but its engine; must be made inside trio."""

    backoff_s = (0.05, 0.2)
    heartbeat_s = 0.2
    python = sys.executable
    make_spool: Callable[..., Spool] = Spool

    def __init__(
        self,
        path: Path,
        *,
        reply_deadline_s: float = 5.0,
        flush_s: float = 0.05,
        flush_rows: int = 10,
        disk: Disk | None = None,
        settings: SpoolSettings | None = None,
    ) -> None:
        self.state = StateDirectory(path)
        identity = self.state.identity()
        self.clocks = Clocks(wall_us())
        spool = self.make_spool(
            disk or OsDisk(self.state.spool),
            settings=settings or SpoolSettings(),
            now_us=wall_us()(),
        )
        self.outbox = Outbox(spool)
        self.outbox.pace(flush_s=flush_s, flush_rows=flush_rows)
        self.followed: list[Plan] = []
        self.asked_to_run: list[int] = []
        self.asked_once: list[plan_pb2.SignedPlan] = []
        self.sightings: list[tuple[str | None, str]] = []
        self.plans = PlanBook(self.state, probe_id=identity.endpoint.probe_id, follow=self._follow)
        ports = Ports(
            outbox=self.outbox,
            clocks=self.clocks,
            hello=self._hello,
            heartbeat=self._heartbeat,
            heartbeat_s=lambda: self.heartbeat_s,
            adopt=self.plans.adopt,
            run=self.asked_to_run.append,
            once=self.asked_once.append,
            sighted=self._sighted,
            reply_deadline_s=reply_deadline_s,
        )
        base_s, cap_s = self.backoff_s
        self.uplink = Uplink(
            self.state, identity, ports, base_s=base_s, cap_s=cap_s, python=self.python
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Batch and talk until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.outbox.run)
            nursery.start_soon(self.uplink.run)
            task_status.started()

    def add(self, numbers: Sequence[int]) -> None:
        """Rows told apart by their slot."""
        for number in numbers:
            self.outbox.add(a_row(START_US + number))

    async def _sighted(self, own: str | None, seen: str) -> None:
        self.sightings.append((own, seen))

    def _follow(self, plan: Plan) -> int:
        self.followed.append(plan)
        return self.clocks.wall()

    def _hello(self) -> Hello:
        return Hello(
            boot_id="boot",
            version="0",
            epoch=self.outbox.epoch,
            next_seq=self.outbox.next_seq,
            backlog_rows=self.outbox.rows,
            evicted_rows=self.outbox.evicted_rows,
            plan_version=self.plans.plan.version,
            families=(4,),
            capabilities=(),
            plan_since_us=self.plans.since_us,
        )

    def _heartbeat(self) -> Heartbeat:
        return a_heartbeat(
            sent_at_us=self.clocks.wall(),
            plan_version=self.plans.plan.version,
            spool_bytes=self.outbox.size_bytes,
            spool_rows=self.outbox.rows,
            evicted_rows=self.outbox.evicted_rows,
            plan_since_us=self.plans.since_us,
        )


def a_heartbeat(**fields: Any) -> Heartbeat:
    """Of a probe that does nothing."""
    given: dict[str, Any] = {
        **dict.fromkeys(("sent_at_us", "plan_version", "spool_bytes", "spool_rows"), 0),
        **dict.fromkeys(("evicted_rows", "queue_depth", "overloaded_slots"), 0),
        **dict.fromkeys(("rss_bytes", "lateness_us_p99", "receive_drops", "plan_since_us")),
        **dict.fromkeys(("clock_synchronised", "clock_drift_ppb")),
        **dict.fromkeys(("uptime_s", "cpu_s"), 0.0),
        **fields,
    }
    return Heartbeat(**given)


def enrolled(path: Path, coordinator: Coordinator) -> Path:
    """A state directory enrolled at this coordinator."""
    enrol.enrol(
        StateDirectory(path),
        coordinator=f"127.0.0.1:{coordinator.enrol_port}",
        token_text=coordinator.token,
        version="0",
        wall=wall_us(),
    )
    return path


def numbers_of(coordinator: Coordinator) -> list[int]:
    """Which of `Vantage.add`'s rows the coordinator committed, in order of arrival."""
    return [row.slot_at_us - START_US for row in coordinator.seen.rows]


@asynccontextmanager
async def online(vantage: Vantage) -> AsyncIterator[Vantage]:
    """A vantage that talks until the block ends."""
    async with trio.open_nursery() as nursery:
        await nursery.start(vantage.run)
        yield vantage
        nursery.cancel_scope.cancel()


async def seen(coordinator: Coordinator, condition: Callable[[Seen], bool]) -> None:
    """Wait until the coordinator saw something."""
    await trio.to_thread.run_sync(coordinator.wait, condition)


async def emptied(vantage: Vantage) -> None:
    """Wait until the spool holds nothing more."""
    with trio.fail_after(20):
        while vantage.outbox.rows:
            await vantage.outbox.read(after=(0, 0), limit=1)
