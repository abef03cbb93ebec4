"""One session: what a probe says, taken message by message, and what it is told.

Nothing here trusts a message. A report is bounded by its envelope before it is unpacked, unpacked
within that bound, parsed alone, and handed to the store, whose reply becomes an acknowledgement, a
rejection, or the end of the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import grpc
import structlog

from coordinator.core.allowance import Allowance
from coordinator.core.clock import clock_notice, followed_since_us, is_believable
from coordinator.core.doorway import Refusal
from coordinator.core.intake import PAST_MAX_US, BatchName
from coordinator.core.registry import Probe
from coordinator.core.settings import Limits
from coordinator.rpc.beats import row_of, said_in
from coordinator.rpc.budget import BudgetSpentError
from coordinator.rpc.desk import Desk
from coordinator.rpc.doors import BATCH_BYTES_MAX
from coordinator.rpc.guard import NOTES
from coordinator.rpc.outbox import Ending, Outbox
from coordinator.rpc.plans import Issued
from coordinator.rpc.unpacking import unpack
from coordinator.store.commit import Arrival, Fate
from coordinator.store.readers import StoreUnavailableError
from coordinator.store.rows import ClockRow, RejectRow, SessionRow
from proto.gen import fleet_pb2
from proto.model import Hello, WireError
from proto.session_codec import heartbeat_from_wire, hello_from_wire

MARKS_MAX: Final = 256
"""High-water marks told in Welcome: a probe that restarted more often gets the newest."""

OVERHEAD_BYTES: Final = 512
"""What a waiting report costs beside its body."""

FRESH_US: Final = 300 * 1_000_000
"""A failure older than this is over, or another: the rows of a backlog call for no comparison."""


class FloodError(Exception):
    """A probe sends too much of what is to be seldom."""


SILENT: Final = "silent"
GONE: Final = "the probe hung up, or its connection broke off"
"""Ends of a session that the coordinator did not say: how they are on record."""


class ProbeSession:
    """The state of one stream. `number` is unique in this process."""

    def __init__(self, desk: Desk, probe: Probe, limits: Limits, *, number: int) -> None:
        self._desk = desk
        self.probe = probe
        self.number = number
        self.is_old = False  # its certificate is of the CA that is being replaced
        self.address: str | None = None  # that it comes from, as we see it
        self.outbox = Outbox()
        self.seen_at_us = desk.wall()
        self.heartbeat_s = 0.0
        # Told of checks that ran because another one failed, after their rows were committed.
        self.saw_failure_runs: Callable[[Probe, frozenset[int]], None] = lambda _probe, _nos: None
        self._notes = Allowance(NOTES)
        self._window = asyncio.Semaphore(limits.batches_in_flight)
        self._limits = limits
        self._hello: Hello | None = None
        self._sent: Issued | None = None
        self._in_flight = 0
        self._epochs: set[int] = set()  # of reports that came
        self._draining = False
        self._log = structlog.get_logger("session").bind(
            probe_id=probe.probe_id, vantage=probe.name
        )

    async def read(self, messages: AsyncIterator[fleet_pb2.Up]) -> None:
        """Take messages until the probe hangs up or the session ends."""
        try:
            async for message in messages:
                if self.outbox.ending is not None or self._draining:
                    return
                self.seen_at_us = self._desk.wall()
                await self._take(message)
            self.outbox.end(Ending(grpc.StatusCode.OK, ""))
        except WireError as error:
            code = grpc.StatusCode.INVALID_ARGUMENT
            self.refuse(code, str(error), refusal=Refusal.BAD_MESSAGE)
        except FloodError as error:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            self.refuse(code, str(error), refusal=Refusal.TOO_OFTEN)
        except BudgetSpentError:
            self.send_away("overloaded: too many reports wait for the store")
        except StoreUnavailableError:
            self.send_away("the store takes nothing at the moment")

    async def _take(self, message: fleet_pb2.Up) -> None:
        match message.WhichOneof("message"):
            case "hello":
                self.probe = await self._desk.locate(self.probe, self.address)
                self._greet(message.hello)
            case _ if self._hello is None:
                raise WireError("a session begins with hello")
            case "batch":
                await self._take_batch(message.batch)
            case "heartbeat" | "clock" if not self._notes.may("", now_us=self.seen_at_us):
                raise FloodError("heartbeats and clock questions come too fast")
            case "heartbeat":
                self._take_heartbeat(message.heartbeat)
            case "clock":
                self._take_clock(message.clock)
            case _:
                raise WireError("an empty message")

    # --- hello --------------------------------------------------------------------------------

    def _greet(self, message: fleet_pb2.Hello) -> None:
        if self._hello is not None:
            raise WireError("hello comes exactly once")
        hello = self._hello = hello_from_wire(message)
        desk, probe_id = self._desk, self.probe.probe_id
        desk.presence.greet(
            probe_id,
            at_us=self.seen_at_us,
            version=hello.version or None,
            boot_id=hello.boot_id,
            address=self.address,
            plan_version=hello.plan_version or None,  # 0 = it follows none
            spool_rows=hello.backlog_rows,
            evicted_rows=hello.evicted_rows,
            families=hello.families,
            capabilities=hello.capabilities,
            limits=hello.limits,
        )
        marks = list(desk.store.marks_of(probe_id).items())[-MARKS_MAX:]
        welcome = fleet_pb2.Welcome(
            window=self._limits.batches_in_flight,
            max_batch_bytes=BATCH_BYTES_MAX,
            have=[fleet_pb2.Ack(epoch=epoch, seq=seq) for epoch, seq in marks],
            sent_at_us=desk.wall(),
            address=self.address or "",
        )
        self.outbox.put(fleet_pb2.Down(welcome=welcome))
        self.send_plan()
        if message.sent_at_us:  # 0 = it did not say
            self._tell_clock(message.sent_at_us)
        self._note_plan(hello.plan_version, hello.plan_since_us)
        self._record(
            "connect",
            backlog_rows=hello.backlog_rows,
            evicted_rows=hello.evicted_rows,
            limits=None if hello.limits is None else asdict(hello.limits),
        )

    def send_plan(self) -> None:
        """The plan of this probe, unless it is the one that was sent last."""
        issued = self._desk.plans.of(self.probe)
        if self._hello is None or issued is self._sent:
            return
        self._sent = issued
        self.heartbeat_s = issued.plan.heartbeat_s
        for refused in self._desk.plans.refused(self.probe, self._hello.limits):
            self._log.warning("plan_exceeds_host", refused=refused)
        self.outbox.put(self._desk.plans.signed(self.probe, is_old=self.is_old))

    def _tell_clock(self, sent_at_us: int) -> None:
        notice = clock_notice(sent_at_us=sent_at_us, received_at_us=self.seen_at_us)
        if notice is not None:
            self._log.warning("probe_clock_off", ahead_us=sent_at_us - self.seen_at_us)
            self.tell(notice)

    # --- reports ------------------------------------------------------------------------------

    async def _take_batch(self, batch: fleet_pb2.Batch) -> None:
        name = BatchName(self.probe.probe_id, batch.epoch, batch.seq)
        try:
            self._check_epoch(batch.epoch)
            body, failure_runs = unpack(batch)
        except WireError as error:
            self._reject(name, rows=batch.rows, reason=str(error))
            return
        fresh = frozenset(
            check_no
            for check_no, slot_us in failure_runs
            if abs(self.seen_at_us - slot_us) < FRESH_US
        )
        cost = len(body) + OVERHEAD_BYTES
        await self._window.acquire()
        await self._desk.budget.take(cost)
        self._in_flight += 1
        self._desk.store.submit(
            Arrival(
                name=name,
                session=self.number,
                rows=batch.rows,
                body=body,
                received_at_us=self.seen_at_us,
                reply=partial(self._settle, name, cost, fresh),
            )
        )

    def _check_epoch(self, epoch: int) -> None:
        """An epoch is remembered for ever, so a probe gets no more of them than it has starts."""
        if epoch in self._epochs:
            return
        probe_id, hello, desk = self.probe.probe_id, self._hello, self._desk
        if not epoch:
            raise WireError("epoch is 0; it must be that of hello, or an earlier one")
        if hello is not None and epoch > hello.epoch:
            raise WireError(f"epoch is later than that of hello, {hello.epoch}")
        if not desk.store.knows_epoch(probe_id, epoch) and not desk.guard.may_begin_epoch(probe_id):
            raise WireError("this probe begins more epochs than it can have had starts")
        self._epochs.add(epoch)

    def _settle(
        self, name: BatchName, cost: int, failure_runs: frozenset[int], fate: Fate, reason: str
    ) -> None:
        self._desk.budget.give_back(cost)
        self._window.release()
        self._in_flight -= 1
        if fate in {Fate.COMMITTED, Fate.DUPLICATE}:
            self.outbox.acknowledge(name.epoch, name.seq)
            if fate is Fate.COMMITTED and failure_runs:
                self.saw_failure_runs(self.probe, failure_runs)
        elif fate is Fate.REJECTED:
            self._tell_rejected(name, reason)
        else:
            self.send_away("the store takes nothing at the moment")
        if self._draining and not self._in_flight:
            self._say_drained()

    def _reject(self, name: BatchName, *, rows: int, reason: str) -> None:
        """Refused before it reached the store, which is told of it."""
        self._desk.store.counts.refused += 1
        self._desk.store.record(
            RejectRow(
                received_at_us=self.seen_at_us,
                probe_id=name.probe_id,
                epoch=name.epoch,
                seq=name.seq,
                row_count=rows,
                reason=reason,
            )
        )
        self._tell_rejected(name, reason)

    def _tell_rejected(self, name: BatchName, reason: str) -> None:
        self._log.warning("report_rejected", epoch=name.epoch, seq=name.seq, reason=reason)
        reject = fleet_pb2.Reject(epoch=name.epoch, seq=name.seq, reason=reason)
        self.outbox.put(fleet_pb2.Down(reject=reject))
        if not self._desk.guard.may_be_rejected(name.probe_id):
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            self.refuse(code, "too many reports were refused", refusal=Refusal.TOO_OFTEN)

    # --- heartbeats and clocks ----------------------------------------------------------------

    def _take_heartbeat(self, message: fleet_pb2.Heartbeat) -> None:
        beat = heartbeat_from_wire(message)
        if abs(beat.sent_at_us - self.seen_at_us) > PAST_MAX_US:
            raise WireError("heartbeat: sent_at_us is impossible")
        desk, probe_id = self._desk, self.probe.probe_id
        desk.presence.note(probe_id, at_us=self.seen_at_us, **said_in(beat))
        self._note_plan(beat.plan_version, beat.plan_since_us)
        desk.store.record(row_of(beat, probe_id=probe_id, received_at_us=self.seen_at_us))

    def _note_plan(self, version: int, since_us: int | None) -> None:
        at_us = followed_since_us(since_us, seen_at_us=self.seen_at_us)
        self._desk.plans.note(self.probe, version=version, at_us=at_us)

    def _take_clock(self, ask: fleet_pb2.ClockAsk) -> None:
        reply = fleet_pb2.ClockReply(t1_ns=ask.t1_ns, t2_ns=self.seen_at_us * 1000)
        self.outbox.put(fleet_pb2.Down(clock=reply))  # t3 is set when it leaves
        if not (ask.HasField("offset_us") and ask.HasField("error_us")):
            return
        if is_believable(offset_us=ask.offset_us, error_us=ask.error_us):
            probe_id = self.probe.probe_id
            self._desk.presence.note(
                probe_id,
                at_us=self.seen_at_us,
                clock_offset_us=ask.offset_us,
                clock_error_us=ask.error_us,
            )
            self._desk.store.record(
                ClockRow(
                    at_us=self.seen_at_us,
                    probe_id=probe_id,
                    offset_ms=ask.offset_us / 1000,
                    error_ms=ask.error_us / 1000,
                )
            )

    # --- the end ------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """A sentence for the probe's log."""
        self.outbox.put(fleet_pb2.Down(notice=fleet_pb2.Notice(text=text)))

    def send_away(self, details: str) -> None:
        """End for now: the probe keeps what was not acknowledged and comes back later."""
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        self.outbox.end(Ending(code, details, self._desk.retry_after_ms()))

    def drain(self) -> None:
        """The coordinator stops: take nothing more, and go when all that was taken is settled."""
        self._draining = True
        if not self._in_flight:
            self._say_drained()

    def _say_drained(self) -> None:
        drain = fleet_pb2.Drain(retry_after_ms=self._desk.retry_after_ms())
        self.outbox.put(fleet_pb2.Down(drain=drain))
        self.outbox.end(Ending(grpc.StatusCode.UNAVAILABLE, "draining", drain.retry_after_ms))

    def close(self) -> None:
        """The stream is gone. Whoever goes before a hello was never a session."""
        self._desk.store.end_session(self.number)
        ending = self.outbox.ending
        detail = GONE if ending is None else ending.details or GONE
        if self._hello is not None:
            self._record("silent" if detail == SILENT else "disconnect", detail=detail)
        elif ending is None or ending.code is grpc.StatusCode.OK:
            self._desk.guard.refusals.note(
                "fleet", Refusal.NO_HELLO, who=self.probe.probe_id, reason=detail
            )

    def refuse(self, code: grpc.StatusCode, details: str, *, refusal: Refusal) -> None:
        """End because of what the probe sent, or did not; the first reason holds."""
        if self.outbox.ending is not None:
            return
        probe_id = self.probe.probe_id
        self._desk.guard.refusals.note("fleet", refusal, who=probe_id, reason=details)
        if self._hello is None:
            self._record("refused", detail=details)
        self.outbox.end(Ending(code, details))

    def _tell(self, what: str, detail: str | None) -> None:
        """One line at the beginning and one at the end; who was refused has one already."""
        hello = self._hello
        if hello is not None and what == "connect":
            self._log.info(
                "session_begun",
                boot_id=hello.boot_id,
                version=hello.version,
                plan_version=hello.plan_version,
                backlog_rows=hello.backlog_rows,
            )
        elif what != "refused":
            self._log.info("session_ended", what=what, detail=detail)

    def _record(self, what: str, **facts: Any) -> None:
        hello = self._hello
        self._tell(what, facts.get("detail"))
        self._desk.store.record(
            SessionRow(
                at_us=self._desk.wall(),
                probe_id=self.probe.probe_id,
                what=what,
                boot_id=hello.boot_id if hello else None,
                version=(hello.version or None) if hello else None,
                families=(",".join(map(str, hello.families)) or None) if hello else None,
                capabilities=(",".join(hello.capabilities) or None) if hello else None,
                address=self.address,
                **facts,
            )
        )
