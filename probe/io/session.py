"""One session with the coordinator: hello, then plans and acks down, reports and heartbeats up.

A stopped coordinator (SIGSTOP, a hung disk) keeps its TCP connection alive and answers keepalive
pings from a thread of its own, so the session has its own pulse: every heartbeat carries a clock
question, and a question without an answer within `reply_deadline_s` ends the session. The answers
are the four-timestamp samples of `probe.core.clock`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from probe.core.clock import STAMP_US_MAX, ClockSample
from probe.core.window import Window
from probe.io.clock import Clocks, clock_note
from probe.io.disk import Stored
from probe.io.link import LinkError, Stream
from probe.io.outbox import Outbox
from proto.gen import fleet_pb2, plan_pb2
from proto.model import Heartbeat, Hello
from proto.session_codec import heartbeat_to_wire, hello_to_wire

REPLY_DEADLINE_S: Final = 10.0
"""No answer for this long = the coordinator is stopped or the path is dead."""

BURST: Final = 8
"""Clock questions right after the welcome: fills the filter within two seconds."""

BURST_GAP_S: Final = 0.2
DRAIN_S: Final = 5.0
"""After a Drain the coordinator commits and acks what it has, then ends the stream."""

PLAN_GAP_S: Final = 0.1
"""Between two plans at least: each is written to our host's disk."""

PLAN_SHARE: Final = 4
"""And this many times as long as it took to take one up: 20,000 checks are 0.3 s without measuring."""

WINDOW_MAX: Final = 64
"""Reports on their way at most, whatever the coordinator grants: they are held in memory."""

_TEXT_MAX: Final = 500
"""Characters of the coordinator's words in our log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a session needs of the probe around it."""

    outbox: Outbox
    clocks: Clocks
    hello: Callable[[], Hello]
    heartbeat: Callable[[], Heartbeat]
    heartbeat_s: Callable[[], float]
    adopt: Callable[[plan_pb2.SignedPlan], Awaitable[None]]
    run: Callable[[int], None]  # a check of the plan, by its number, once and now
    once: Callable[[plan_pb2.SignedPlan], None]  # checks of no plan
    sighted: Callable[[str | None, str], Awaitable[None]]  # own address, and the one that is seen
    reply_deadline_s: float = REPLY_DEADLINE_S


class Session:
    """Runs one stream until it ends; `welcomed` says whether it ever got anywhere."""

    def __init__(self, stream: Stream, ports: Ports) -> None:
        self._stream = stream
        self._ports = ports
        self._window = Window(1, known={})
        self._max_batch_bytes = 0
        self._error: LinkError | None = None
        self._room = trio.Event()
        self._answered = trio.Event()
        self._beat_now = trio.Event()
        self._asked: dict[int, int] = {}  # t1 of open clock questions -> monotonic time of asking
        self._plan: plan_pb2.SignedPlan | None = None
        self._planned = trio.Event()
        self._draining = False
        self._suspect_told = False
        self.welcomed = False
        self.acked_rows = 0
        self._log = structlog.get_logger("session")

    async def run(self) -> LinkError:
        """Until the session is over; returns why."""
        hello = hello_to_wire(self._ports.hello(), sent_at_us=self._ports.clocks.wall())
        self._asked[hello.sent_at_us * 1000] = self._ports.clocks.mono_us()
        self._stream.send(fleet_pb2.Up(hello=hello))
        try:
            await self._welcome()
        except LinkError as error:
            return error
        async with trio.open_nursery() as nursery:
            for part in (self._receive, self._upload, self._beat, self._adopt_plans):
                nursery.start_soon(self._guard, part, nursery.cancel_scope)
        return self._error or self._stream.why()

    async def _guard(self, part: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        """The first part that ends, ends the session; its reason is the session's."""
        try:
            await part()
        except LinkError as error:
            self._error = self._error or error
        scope.cancel()

    async def _welcome(self) -> None:
        with trio.move_on_after(self._ports.reply_deadline_s):
            down = await self._next()
            if down.WhichOneof("message") != "welcome":
                raise LinkError(f"protocol: {down.WhichOneof('message')} came before the welcome")
            await self._enter(down.welcome)
            return
        raise LinkError(f"no welcome within {self._ports.reply_deadline_s:g} s")

    async def _enter(self, welcome: fleet_pb2.Welcome) -> None:
        known: dict[int, int] = {}
        for mark in welcome.have:
            known[mark.epoch] = max(mark.seq, known.get(mark.epoch, 0))
        self._window = Window(min(welcome.window, WINDOW_MAX), known=known)
        self._max_batch_bytes = welcome.max_batch_bytes
        self.welcomed = True
        self._sample_greeting(welcome.sent_at_us)
        await self._ports.sighted(self._stream.own_address, welcome.address)
        self._ports.outbox.send_certificates_again()
        await self._ports.outbox.ack(known)
        note = clock_note(probe_us=self._ports.clocks.wall(), coordinator_us=welcome.sent_at_us)
        if note is not None:
            self._suspect_told = True
            self._log.error("clock_off", note=note)

    def _sample_greeting(self, sent_at_us: int) -> None:
        """Hello and welcome are a first exchange, so that no row needs to wait for an estimate."""
        clocks = self._ports.clocks
        for t1_ns, asked_us in self._asked.items():
            if 0 < sent_at_us <= STAMP_US_MAX:
                there_ns = sent_at_us * 1000
                t4_ns = t1_ns + (clocks.mono_us() - asked_us) * 1000
                clocks.add(ClockSample(t1_ns=t1_ns, t2_ns=there_ns, t3_ns=there_ns, t4_ns=t4_ns))
        self._asked.clear()

    async def _next(self) -> fleet_pb2.Down:
        try:
            return await self._stream.inbox.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise self._stream.why() from None

    # --- down -----------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Never waits for a disk: an answer to a clock question must not queue behind one."""
        while True:
            scope = trio.move_on_after(DRAIN_S) if self._draining else trio.CancelScope()
            with scope:
                self._take(await self._next())
            if scope.cancelled_caught:
                return

    def _take(self, down: fleet_pb2.Down) -> None:
        match down.WhichOneof("message"):
            case "clock":
                self._take_clock(down.clock)
            case "ack":
                self._take_ack(down.ack)
            case "reject":
                self._take_reject(down.reject)
            case "plan":
                self._plan = down.plan
                self._planned.set()
            case "run":
                self._ports.run(down.run.check_no)
            case "once":
                self._ports.once(down.once)
            case "drain":
                self._take_drain(down.drain)
            case "notice":
                self._log.warning("coordinator_says", text=down.notice.text[:_TEXT_MAX])
            case other:
                # A newer coordinator may say what this probe does not know yet.
                self._log.debug("message_ignored", message=other)

    def _take_clock(self, reply: fleet_pb2.ClockReply) -> None:
        asked_us = self._asked.pop(reply.t1_ns, None)
        if asked_us is None:
            return
        self._answered.set()
        clocks = self._ports.clocks
        # The way there and back by the monotonic clock: a step in mid-flight cannot spoil it.
        t4_ns = reply.t1_ns + (clocks.mono_us() - asked_us) * 1000
        clocks.add(
            ClockSample(t1_ns=reply.t1_ns, t2_ns=reply.t2_ns, t3_ns=reply.t3_ns, t4_ns=t4_ns)
        )
        note = clocks.take_drift_note()
        if note is not None:
            self._log.error("clock_drifts", note=note)
        estimate = clocks.estimate()
        if estimate is not None and estimate.suspect and not self._suspect_told:
            self._suspect_told = True
            self._log.warning(
                "clock_suspect",
                offset_ms=estimate.offset_us // 1000,
                error_ms=estimate.error_us // 1000,
                fix="turn on time synchronisation; rows are marked clock_suspect until then",
            )

    def _take_ack(self, ack: fleet_pb2.Ack) -> None:
        settled = self._window.acked((ack.epoch, ack.seq))
        self.acked_rows += settled.rows
        self._room.set()
        self._log.info("report_acked", epoch=ack.epoch, seq=ack.seq, rows=settled.rows)

    def _take_reject(self, reject: fleet_pb2.Reject) -> None:
        settled = self._window.rejected((reject.epoch, reject.seq))
        self._room.set()
        self._log.error(
            "report_rejected",
            epoch=reject.epoch,
            seq=reject.seq,
            rows=settled.refused_rows,
            reason=reject.reason[:_TEXT_MAX],
        )

    def _take_drain(self, drain: fleet_pb2.Drain) -> None:
        self._draining = True
        self._error = LinkError(
            "the coordinator is stopping", retry_after_s=drain.retry_after_ms / 1000
        )

    async def _adopt_plans(self) -> None:
        while True:
            await self._planned.wait()
            self._planned = trio.Event()
            if self._plan is not None:
                begun_s = trio.current_time()
                await self._ports.adopt(self._plan)
                self._beat_now.set()
                took_s = trio.current_time() - begun_s
                await trio.sleep(max(PLAN_GAP_S, PLAN_SHARE * took_s))

    # --- up -------------------------------------------------------------------------------------

    async def _upload(self) -> None:
        """Oldest first, within the window; also the one who tells the spool what to forget."""
        outbox = self._ports.outbox
        while True:
            room = self._room = trio.Event()
            changed = outbox.changed
            covered = self._window.take_covered()
            if covered:
                await outbox.ack(covered)
            stored: list[Stored] = []
            if self._window.room and not self._draining:
                stored = await outbox.read(after=self._window.cursor, limit=self._window.room)
            for one in stored:
                self._send_report(one)
            if not stored:
                await _first_of(room, changed if self._window.room else None)

    def _send_report(self, stored: Stored) -> None:
        record, place = stored.record, (stored.epoch, stored.record.seq)
        if self._window.pass_by(place):
            return
        self._window.sent(place, rows=record.rows)
        if self._max_batch_bytes and len(record.body) > self._max_batch_bytes:
            self._window.rejected(place)
            self._log.error("report_too_large", seq=record.seq, bytes=len(record.body))
            return
        batch = fleet_pb2.Batch(
            epoch=stored.epoch,
            seq=record.seq,
            rows=record.rows,
            codec=fleet_pb2.Batch.Codec.ValueType(record.codec),
            raw_bytes=record.raw_bytes,
            body=record.body,
        )
        self._stream.send(fleet_pb2.Up(batch=batch))

    async def _beat(self) -> None:
        beats = 0
        while True:
            if beats == 0 or beats >= BURST:
                self._stream.send(
                    fleet_pb2.Up(heartbeat=heartbeat_to_wire(self._ports.heartbeat()))
                )
            await self._ask_clock()
            beats += 1
            with trio.move_on_after(BURST_GAP_S if beats < BURST else self._ports.heartbeat_s()):
                await self._beat_now.wait()
            if self._beat_now.is_set():
                self._beat_now = trio.Event()
                beats = max(beats, BURST)

    async def _ask_clock(self) -> None:
        self._answered = trio.Event()
        self._asked.clear()
        clocks = self._ports.clocks
        estimate = clocks.estimate()
        ask = fleet_pb2.ClockAsk(t1_ns=clocks.wall() * 1000)
        if estimate is not None:
            ask.offset_us, ask.error_us = estimate.offset_us, estimate.error_us
        self._asked[ask.t1_ns] = clocks.mono_us()
        self._stream.send(fleet_pb2.Up(clock=ask))
        deadline_s = self._ports.reply_deadline_s
        with trio.move_on_after(deadline_s):
            await self._answered.wait()
            return
        raise LinkError(f"no answer to a clock question within {deadline_s:g} s")


async def _first_of(*events: trio.Event | None) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            if event is not None:
                nursery.start_soon(wait, event)
