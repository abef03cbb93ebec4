"""One simulated probe of the ingest bench: what a real one does on the wire, reconnecting included.

It holds its reports until they are acknowledged and sends what is left again, oldest first, over the next
session. How long it waits before that is decided by the real probe's own core (`probe.core.backoff`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio

from coordinator.rpc.authority import SERVER_NAME
from probe.core import backoff
from proto.codec import plan_from_wire
from proto.gen import fleet_pb2, fleet_pb2_grpc
from proto.model import Check
from tests.bench.reports import SPAN_US, Template, templates

OPTIONS: Final = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)
HEARTBEAT_S: Final = 15.0
TEMPLATES: Final = 24


class SessionLostError(Exception):
    """The other side ended the session."""


@dataclass(slots=True)
class Tally:
    """What all sessions saw between start and stop."""

    sent_rows: int = 0
    acked_rows: int = 0
    latencies_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)  # why sessions and attempts ended
    stalls: int = 0  # a report was due and the window was full
    attempts: int = 0
    lost: int = 0  # sessions that ended after their welcome
    back_s: list[float] = field(default_factory=list)  # from a session's loss to the next welcome


@dataclass(slots=True, kw_only=True)
class Run:
    """The parameters of one run, shared by its sessions."""

    address: str
    rows: int
    period_s: float  # between two reports of one probe; 0 = as fast as the window lets it
    base_s: float  # of the back-off
    cap_s: float
    tally: Tally
    gate: asyncio.Semaphore  # first connections at a time
    reports: list[Template] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    welcomed: asyncio.Condition = field(default_factory=asyncio.Condition)


class Session:
    """One simulated probe. `number` seeds what is random of it."""

    def __init__(self, run: Run, number: int, credentials: grpc.ChannelCredentials) -> None:
        self._run = run
        self._credentials = credentials
        self._chance = random.Random(number)
        self._epoch = 1 + number
        self._seq = 0
        self._open: deque[tuple[int, fleet_pb2.Up, float]] = deque()
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._done = asyncio.Event()
        self._window = 1
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._lost_at_s: float | None = None
        self.greeted = False

    async def live(self) -> None:
        """Report until the run stops, over as many sessions as it takes, and wait for what is owed."""
        tally, failures = self._run.tally, 0
        reporter = asyncio.create_task(self._report())
        while not self._done.is_set():
            tally.attempts += 1
            welcomed, why, retry_after_s = await self._once()
            if self._done.is_set():
                break
            tally.failures[why] += 1
            if welcomed:
                tally.lost += 1
                self._lost_at_s = time.monotonic()
            failures = 1 if welcomed else failures + 1
            await self._wait(failures, retry_after_s)
        await reporter

    def give_up(self) -> None:
        """Whatever is still owed."""
        self._done.set()
        self._room.set()

    async def _wait(self, failures: int, retry_after_s: float | None) -> None:
        chance = self._chance.random()
        base_s, cap_s = self._run.base_s, self._run.cap_s
        wait_s = backoff.delay_s(failures, base_s=base_s, cap_s=cap_s, chance=chance)
        if retry_after_s is not None:
            wait_s = backoff.told_delay_s(retry_after_s, chance=chance)
        try:
            async with asyncio.timeout(wait_s):
                await self._done.wait()
        except TimeoutError:
            return

    # --- one session ------------------------------------------------------------------------------

    async def _once(self) -> tuple[bool, str, float | None]:
        """Until it ends; whether it was welcomed, why it ended, and when to come again if that was told."""
        welcomed = False
        async with grpc.aio.secure_channel(
            self._run.address, self._credentials, OPTIONS
        ) as channel:
            turn = nullcontext() if self.greeted else self._run.gate
            call: Any = None
            try:
                async with turn:
                    call = self._call = fleet_pb2_grpc.FleetServiceStub(channel).Session()
                    await self._greet()
                welcomed = True
                async with asyncio.TaskGroup() as group:
                    parts = [
                        group.create_task(part()) for part in (self._read, self._beat, self._upload)
                    ]
                    await self._done.wait()
                    for part in parts:
                        part.cancel()
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, SessionLostError):
                pass  # the call says why
            finally:
                call.cancel()
            return welcomed, await _reason(call), await _retry_after_s(call)

    async def _greet(self) -> None:
        hello = fleet_pb2.Hello(
            boot_id=f"{self._epoch:x}", version="bench", epoch=self._epoch, next_seq=1,
            families=[4], sent_at_us=_wall_us(),
        )  # fmt: skip
        await self._write(fleet_pb2.Up(hello=hello))
        welcome, plan = await self._next(), await self._next()
        self._window = welcome.welcome.window
        if not self._run.reports:
            self._run.reports = _prepared(plan.plan.plan, self._run.rows)
        for mark in welcome.welcome.have:
            if mark.epoch == self._epoch:
                self._settle(mark.seq)
        self.greeted = True
        if self._lost_at_s is not None:
            self._run.tally.back_s.append(time.monotonic() - self._lost_at_s)
            self._lost_at_s = None
        async with self._run.welcomed:
            self._run.welcomed.notify_all()

    async def _next(self) -> fleet_pb2.Down:
        down = await self._call.read()
        if down is grpc.aio.EOF:
            raise SessionLostError
        return down  # type: ignore[no-any-return]

    async def _read(self) -> None:
        while True:
            down = await self._next()
            match down.WhichOneof("message"):
                case "ack":
                    self._settle(down.ack.seq)
                case "reject":
                    self._run.tally.failures[f"rejected: {down.reject.reason}"] += 1

    async def _upload(self) -> None:
        """What is open, oldest first; over a new session from the beginning."""
        cursor = 0
        while True:
            self._news.clear()
            for seq, message, _ in list(self._open):
                if seq > cursor:
                    await self._write(message)
                    cursor = seq
            await self._news.wait()

    async def _beat(self) -> None:
        await asyncio.sleep(self._chance.random() * HEARTBEAT_S)
        while True:
            beat = fleet_pb2.Heartbeat(sent_at_us=_wall_us(), plan_version=1, spool_rows=0)
            await self._write(fleet_pb2.Up(heartbeat=beat))
            ask = fleet_pb2.ClockAsk(t1_ns=time.time_ns(), offset_us=12, error_us=800)
            await self._write(fleet_pb2.Up(clock=ask))
            await asyncio.sleep(HEARTBEAT_S)

    async def _write(self, message: fleet_pb2.Up) -> None:
        """One at a time: core takes one write of a call, and ends the call at a second one."""
        async with self._writing:
            await self._call.write(message)

    # --- reports ----------------------------------------------------------------------------------

    async def _report(self) -> None:
        run = self._run
        await run.started.wait()
        loop = asyncio.get_running_loop()
        due = loop.time() + self._chance.random() * run.period_s
        while not run.stopped.is_set():
            await asyncio.sleep(max(0.0, due - loop.time()))
            due += run.period_s
            if len(self._open) >= self._window:
                run.tally.stalls += run.period_s > 0
                self._room.clear()
                await self._room.wait()
            if not run.stopped.is_set():
                self._put_down()
        if not self._open:
            self._done.set()

    def _put_down(self) -> None:
        self._seq += 1
        template = self._chance.choice(self._run.reports)
        batch = template.batch(_wall_us() - SPAN_US, epoch=self._epoch, seq=self._seq)
        self._open.append((self._seq, fleet_pb2.Up(batch=batch), time.monotonic()))
        self._run.tally.sent_rows += template.rows
        self._news.set()

    def _settle(self, seq: int) -> None:
        now_s = time.monotonic()
        tally = self._run.tally
        while self._open and self._open[0][0] <= seq:
            _, _, since_s = self._open.popleft()
            tally.acked_rows += self._run.rows
            tally.latencies_s.append(now_s - since_s)
        self._room.set()
        if self._run.stopped.is_set() and not self._open:
            self._done.set()


def _prepared(plan: bytes, rows: int) -> list[Template]:
    checks: tuple[Check, ...] = plan_from_wire(plan).checks
    return templates(checks, rows=rows, count=TEMPLATES, seed=1)


async def _reason(call: Any) -> str:
    return f"{(await call.code()).name}: {await call.details()}"


async def _retry_after_s(call: Any) -> float | None:
    told = dict(await call.trailing_metadata() or ()).get("retry-after-ms")
    return None if told is None else int(told) / 1000


def _wall_us() -> int:
    return time.time_ns() // 1000
