"""Wiring of `soundings probe run`: nothing is decided here.

engine ──rows──► outbox ──reports──► spool on disk ──► session ──► coordinator
   ▲                                                      │
   └──────────────── plan ◄── plan book ◄─────────────────┘
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

import structlog
import trio

from probe.core.outcome import Outcome, Start
from probe.engine import Engine, Runner
from probe.exits import Exit, ProbeError
from probe.io import privileges, vitals
from probe.io.clock import SET_NTP, Clocks, wall_us
from probe.io.disk import OsDisk, Spool, SpoolError
from probe.io.outbox import Outbox
from probe.io.recollection import Recollection
from probe.io.session import Ports
from probe.io.sightings import Sightings
from probe.io.state import Identity, StateDirectory
from probe.io.uplink import Uplink
from probe.plans import PlanBook
from probe.settings import Settings
from probe.toolbox import Toolbox, ToolboxSettings, open_toolbox, ready, run_supported, unsupported
from proto.gen import plan_pb2
from proto.model import Check, Heartbeat, Hello, Plan
from soundings import VERSION

HEARTBEAT_MIN_S: Final = 0.2
"""A plan may not make heartbeats a load."""


def version() -> str:
    """Of the program; read from the code, since importlib.metadata brings a mail parser of 2 MB."""
    return VERSION


class Probe:
    """The parts of one running probe, and what it says of itself."""

    def __init__(
        self, state: StateDirectory, identity: Identity, settings: Settings, box: Toolbox
    ) -> None:
        self._box = box
        self._boot_id = secrets.token_hex(8)
        self._started_s = trio.current_time()
        self._limits = settings.limits
        self._sightings = Sightings(state)
        self.clocks = Clocks(box.wall)
        self.outbox = Outbox(_open_spool(state, settings, now_us=box.wall()))
        self.engine = Engine(
            identity.endpoint.probe_id,
            clocks=self.clocks,
            limits=settings.limits,
            runner=Runner(run=self._run_check, unsupported=self._unsupported, ready=self._ready),
            keep=self.outbox.add,
        )
        self.recollection = Recollection(state, wall=box.wall)
        self._box = replace(
            box, may_contact=self.engine.may_contact, memory=self.recollection.memory
        )
        self.plans = PlanBook(state, probe_id=identity.endpoint.probe_id, follow=self._follow)
        self.uplink = Uplink(
            state,
            identity,
            self._ports(settings),
            base_s=settings.link.backoff_base_s,
            cap_s=settings.link.backoff_cap_s,
        )

    def _ports(self, settings: Settings) -> Ports:
        return Ports(
            outbox=self.outbox,
            clocks=self.clocks,
            hello=self._hello,
            heartbeat=self._heartbeat,
            heartbeat_s=lambda: max(HEARTBEAT_MIN_S, self.plans.plan.heartbeat_s),
            adopt=self.plans.adopt,
            run=self.engine.request,
            once=self._run_once,
            sighted=self._sightings.note,
            reply_deadline_s=settings.link.reply_deadline_s,
        )

    async def _run_check(self, check: Check, slot_at_us: int) -> Outcome:
        return await run_supported(check, self._box.at_slot(slot_at_us))

    def _ready(self, check: Check) -> Start | None:
        return ready(check, self._box)

    def _unsupported(self, check: Check) -> str | None:
        return unsupported(check, self._box)

    def _follow(self, plan: Plan) -> int:
        settings = replace(self._box.settings, user_agent=plan.user_agent)
        self._box = replace(self._box, settings=settings)
        self.outbox.pace(flush_s=plan.flush_s, flush_rows=plan.flush_rows)
        return self.engine.adopt(plan.checks)

    def _run_once(self, signed: plan_pb2.SignedPlan) -> None:
        checks = self.plans.once(signed, now_us=self.clocks.wall())
        if checks:
            self.engine.once(checks)

    def _hello(self) -> Hello:
        return Hello(
            boot_id=self._boot_id,
            version=version(),
            epoch=self.outbox.epoch,
            next_seq=self.outbox.next_seq,
            backlog_rows=self.outbox.rows,
            evicted_rows=self.outbox.evicted_rows,
            plan_version=self.plans.plan.version,
            families=tuple(sorted(self._box.families)),
            capabilities=_capabilities(self._box),
            plan_since_us=self.plans.since_us,
            limits=self._limits,
        )

    def _heartbeat(self) -> Heartbeat:
        drift = self.clocks.drift()
        return Heartbeat(
            sent_at_us=self.clocks.wall(),
            plan_version=self.plans.plan.version,
            uptime_s=trio.current_time() - self._started_s,
            rss_bytes=vitals.rss_bytes(),
            cpu_s=vitals.cpu_s(),
            spool_bytes=self.outbox.size_bytes,
            spool_rows=self.outbox.rows,
            evicted_rows=self.outbox.evicted_rows,
            queue_depth=self.engine.queue_depth,
            lateness_us_p99=self.engine.lateness.p99_us(),
            receive_drops=self._box.receive_drops(),
            clock_synchronised=self.clocks.synchronised(),
            plan_since_us=self.plans.since_us,
            overloaded_slots=self.engine.overloaded_slots,
            clock_drift_ppb=None if drift is None else drift.ppb,
            translated=self._sightings.translated,
        )


def _open_spool(state: StateDirectory, settings: Settings, *, now_us: int) -> Spool:
    try:
        return Spool(OsDisk(state.spool), settings=settings.spool, now_us=now_us)
    except (OSError, SpoolError) as error:
        raise ProbeError(
            f"{state.spool}: {getattr(error, 'strerror', None) or error}; it must be a directory that this user may write",
            code=Exit.STATE_UNUSABLE,
        ) from error


def _capabilities(box: Toolbox) -> tuple[str, ...]:
    words = []
    for family, pinger in sorted(box.pingers.items()):
        words.append(f"icmp{family}")
        if pinger.is_raw:
            words.append(f"icmp{family}_raw")
    if box.stamps_warm:
        words.append("rx_stamps")
    if any(pinger.sends_stamped for pinger in box.pingers.values()):
        words.append("tx_stamps")
    return tuple(words)


async def run_probe(
    state: StateDirectory, settings: Settings, *, environment: Mapping[str, str]
) -> None:
    """Measure and report until SIGTERM or SIGINT; then spool what is left.

    Raises ProbeError when the probe is not enrolled or its state cannot be used.
    """
    log = structlog.get_logger("probe")
    become = None if settings.user is None else privileges.account(settings.user)
    identity = state.identity()
    notifier = vitals.notifier(environment)
    toolbox_settings = ToolboxSettings(
        resolvers=settings.resolvers,
        allow_networks=settings.allow_networks,
        ca_file=settings.ca_file,
        source_address=settings.source_address,
        tx_stamps=settings.tx_stamps,
    )
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_toolbox(toolbox_settings, wall=wall_us(settings.clock_offset_s)) as box:
            if privileges.give_back(become) == 0:
                log.warning("runs_as_root", fix='set user = "soundings-probe" in probe.toml')
            probe = Probe(state, identity, settings, box)
            probe.plans.restore()
            log.info("started", probe_id=identity.endpoint.probe_id, state=str(state.path))
            if probe.clocks.synchronised() is False:
                log.warning("clock_unsynchronised", fix=SET_NTP)
            vitals.spare_the_heap()
            notifier.tell("READY=1")
            await _live(probe, signals, notifier)
            notifier.tell("STOPPING=1")
            await probe.recollection.save()
            await probe.outbox.flush()
            await probe.outbox.close()
            log.info("stopped", spooled_rows=probe.outbox.rows)


async def _live(probe: Probe, signals: AsyncIterator[int], notifier: vitals.Notifier) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on, signals, probe.engine)
        nursery.start_soon(_watchdog, notifier)
        nursery.start_soon(probe.outbox.run)
        nursery.start_soon(probe.recollection.run)
        nursery.start_soon(probe.uplink.run)
        await probe.engine.run()
        nursery.cancel_scope.cancel()


async def _stop_on(signals: AsyncIterator[int], engine: Engine) -> None:
    async for _ in signals:
        engine.stop()


async def _watchdog(notifier: vitals.Notifier) -> None:
    """The loop that tells is the loop that measures: if it hangs, systemd notices."""
    while notifier.watchdog_s is not None:
        notifier.tell("WATCHDOG=1")
        await trio.sleep(notifier.watchdog_s)
