"""The fleet's side of the ingest bench: thousands of mutually authenticated sessions in one process.

Each simulated probe does what a real one does on the wire: hello, heartbeats with a clock question,
reports within the coordinator's window. It is started by `tests.bench.ingest` as a process of its
own, says `connected` when every session was welcomed, and then obeys lines on its standard input,
each answered by one JSON object:

    start   begin to report
    mark    rows acknowledged since the last mark, and how long they took
    stop    report no more, wait for what is owed, end
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from coordinator.rpc.authority import SERVER_NAME
from proto.codec import plan_from_wire
from proto.gen import fleet_pb2, fleet_pb2_grpc
from proto.model import Check
from tests.bench.contract import percentile
from tests.bench.reports import SPAN_US, Template, templates

OPTIONS: Final = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)
HEARTBEAT_S: Final = 15.0
CONNECTING_MAX: Final = 64
"""Handshakes at a time: both ends of each are on this machine."""

DRAIN_S: Final = 20.0
TEMPLATES: Final = 24


@dataclass(slots=True)
class Tally:
    """What all sessions saw between start and stop."""

    sent_rows: int = 0
    acked_rows: int = 0
    latencies_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    stalls: int = 0  # a report was due and the window was full


@dataclass(slots=True, kw_only=True)
class Run:
    """The parameters of one run, shared by its sessions."""

    address: str
    rows: int
    period_s: float  # between two reports of one probe; 0 = as fast as the window lets it
    tally: Tally
    reports: list[Template] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    welcomed: int = 0
    expected: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)  # all are in, or one is not

    def enter(self) -> None:
        """One more session was welcomed."""
        self.welcomed += 1
        if self.welcomed == self.expected:
            self.ready.set()

    def fail(self, reason: str) -> None:
        """A session ended that should not have."""
        self.tally.failures[reason] += 1
        self.ready.set()


class Session:
    """One simulated probe."""

    def __init__(self, run: Run, probe: int, credentials: grpc.ChannelCredentials) -> None:
        self._run = run
        self._credentials = credentials
        self._chance = random.Random(probe)
        self._epoch = 1 + probe
        self._seq = 0
        self._open: deque[tuple[int, float]] = deque()
        self._room = asyncio.Event()
        self._window = 1
        self._call: Any = None
        self._writing = asyncio.Lock()

    async def live(self, gate: asyncio.Semaphore) -> None:
        """Connect, report until stopped, wait for what is owed."""
        async with grpc.aio.secure_channel(
            self._run.address, self._credentials, OPTIONS
        ) as channel:
            self._call = fleet_pb2_grpc.FleetServiceStub(channel).Session()
            try:
                async with gate:
                    await self._greet()
                async with asyncio.TaskGroup() as group:
                    reader = group.create_task(self._read())
                    beater = group.create_task(self._beat())
                    await self._report()
                    await self._drain()
                    reader.cancel()
                    beater.cancel()
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError) as errors:
                self._run.fail(_named(errors.exceptions[0]))
            finally:
                self._call.cancel()

    async def _greet(self) -> None:
        hello = fleet_pb2.Hello(
            boot_id=f"{self._epoch:x}", version="bench", epoch=self._epoch, next_seq=1,
            families=[4], sent_at_us=_wall_us(),
        )  # fmt: skip
        await self._write(fleet_pb2.Up(hello=hello))
        welcome = await self._call.read()
        plan = await self._call.read()
        self._window = welcome.welcome.window
        if not self._run.reports:
            self._run.reports = _prepared(plan.plan.plan, self._run.rows)
        self._run.enter()

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
                await self._send()

    async def _send(self) -> None:
        self._seq += 1
        template = self._chance.choice(self._run.reports)
        batch = template.batch(_wall_us() - SPAN_US, epoch=self._epoch, seq=self._seq)
        self._open.append((self._seq, time.monotonic()))
        self._run.tally.sent_rows += template.rows
        await self._write(fleet_pb2.Up(batch=batch))

    async def _write(self, message: fleet_pb2.Up) -> None:
        """One at a time: core takes one write of a call, and ends the call at a second one."""
        async with self._writing:
            await self._call.write(message)

    async def _read(self) -> None:
        while (down := await self._call.read()) is not grpc.aio.EOF:
            match down.WhichOneof("message"):
                case "ack":
                    self._settle(down.ack.seq)
                case "reject":
                    self._run.tally.failures[f"rejected: {down.reject.reason}"] += 1

    def _settle(self, seq: int) -> None:
        now_s = time.monotonic()
        tally = self._run.tally
        while self._open and self._open[0][0] <= seq:
            _, sent_s = self._open.popleft()
            tally.acked_rows += self._run.rows
            tally.latencies_s.append(now_s - sent_s)
        self._room.set()

    async def _beat(self) -> None:
        await asyncio.sleep(self._chance.random() * HEARTBEAT_S)
        while True:
            beat = fleet_pb2.Heartbeat(sent_at_us=_wall_us(), plan_version=1, spool_rows=0)
            await self._write(fleet_pb2.Up(heartbeat=beat))
            ask = fleet_pb2.ClockAsk(t1_ns=time.time_ns(), offset_us=12, error_us=800)
            await self._write(fleet_pb2.Up(clock=ask))
            await asyncio.sleep(HEARTBEAT_S)

    async def _drain(self) -> None:
        async with asyncio.timeout(DRAIN_S):
            while self._open:
                self._room.clear()
                await self._room.wait()


def _prepared(plan: bytes, rows: int) -> list[Template]:
    checks: tuple[Check, ...] = plan_from_wire(plan).checks
    return templates(checks, rows=rows, count=TEMPLATES, seed=1)


def _named(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return type(error).__name__


def _wall_us() -> int:
    return time.time_ns() // 1000


async def _play(args: argparse.Namespace) -> None:
    fleet = json.loads(args.fleet.read_text())
    certificates = list(fleet["certificates"].values())[: args.probes]
    run = Run(
        address=args.address,
        rows=args.rows,
        period_s=args.period_s,
        tally=Tally(),
        expected=len(certificates),
    )
    gate = asyncio.Semaphore(CONNECTING_MAX)
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, certificate in enumerate(certificates):
            credentials = grpc.ssl_channel_credentials(
                fleet["ca"].encode(), fleet["key"].encode(), certificate.encode()
            )
            group.create_task(Session(run, number, credentials).live(gate))
        await run.ready.wait()
        _tell(welcomed=run.welcomed, took_s=time.monotonic() - began_s)
        await _obey(run)
    tally = run.tally
    _tell(
        sent_rows=tally.sent_rows,
        acked_rows=tally.acked_rows,
        stalls=tally.stalls,
        failures=dict(tally.failures),
    )


async def _obey(run: Run) -> None:
    marked = 0
    while (line := await asyncio.to_thread(sys.stdin.readline)).strip() != "stop":
        if not line:
            raise EOFError("the bench is gone")
        if line.strip() == "start":
            run.started.set()
        latencies_s, run.tally.latencies_s = run.tally.latencies_s, []
        rows, marked = run.tally.acked_rows - marked, run.tally.acked_rows
        _tell(rows=rows, **_latencies(latencies_s))
    run.stopped.set()


def _latencies(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"ack_ms_p{n}": percentile(seconds, n / 100) * 1000 for n in (50, 99)}


def _tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    """Run the fleet as the command line says."""
    parser = argparse.ArgumentParser(description="Simulate a fleet of probes.")
    parser.add_argument("--fleet", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--probes", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--period-s", type=float, required=True)
    asyncio.run(_play(parser.parse_args()))


if __name__ == "__main__":
    main()
