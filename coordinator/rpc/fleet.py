"""The fleet door: who may enter, one session per probe, and how all of them end.

Identity comes from the verified certificate alone. Revocation does not wait for certificates to
expire: every session asks the registry, and live ones are ended at once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.core.doorway import Refusal, peer_of, source_of
from coordinator.core.networks import address_of
from coordinator.core.registry import Probe, is_silent, probe_id_of, refuse_probe
from coordinator.core.settings import Limits
from coordinator.rpc.authority import Authority, as_datetime, ca_us
from coordinator.rpc.desk import Desk
from coordinator.rpc.guard import PAUSE_S, RETRY_AFTER_MS
from coordinator.rpc.outbox import Ending
from coordinator.rpc.requests import AuthorityError
from coordinator.rpc.session import SILENT, ProbeSession
from coordinator.store.registry import Registry
from coordinator.store.rows import SessionRow
from proto.gen import fleet_pb2, fleet_pb2_grpc

DOOR: Final = "fleet"

TOO_OFTEN: Final = (
    "this probe comes too often, or too much that it sent was refused; if it is not restarting "
    "over and over, somebody else has its key: revoke it and enrol it anew"
)

CUT_AFTER_S: Final = 1.0
"""How long a session that must end may take to say so before it is cut."""


class FleetDoor(fleet_pb2_grpc.FleetServiceServicer):
    """The servicer of the mutually authenticated port."""

    def __init__(
        self,
        desk: Desk,
        registry: Registry,
        authority: Authority,
        *,
        limits: Callable[[], Limits],
        hello_s: float,
    ) -> None:
        self.draining = asyncio.Event()
        self._desk = desk
        self._registry = registry
        self._authority = authority
        self._limits = limits
        self._hello_s = hello_s  # a stream that says nothing for this long is not a probe
        self._live: dict[str, ProbeSession] = {}
        self._ended = asyncio.Event()
        self._numbers = itertools.count(1)
        self.saw_failure_runs: Callable[[Probe, frozenset[int]], None] = lambda _probe, _nos: None
        self._log = structlog.get_logger("fleet")

    # --- the two calls ------------------------------------------------------------------------

    async def Session(  # noqa: N802  # the name of the call on the wire
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[fleet_pb2.Down]:
        """One session of one probe."""
        probe = await self._admit(context)
        session = ProbeSession(self._desk, probe, self._limits(), number=next(self._numbers))
        session.address = address_of(context.peer())
        session.is_old = await self._note_certificate(context, probe)
        session.saw_failure_runs = self.saw_failure_runs
        self._take_over(session)
        loop = asyncio.get_running_loop()
        handler = asyncio.current_task()
        assert handler is not None, "gRPC runs every call in a task"
        session.outbox.on_end = lambda: loop.call_later(CUT_AFTER_S, handler.cancel)
        reader = loop.create_task(session.read(request_iterator))
        timers = [
            loop.call_later(self._hello_s, self._expect_hello, session),
            loop.call_later(_life_s(context, self._now()), self._expire, session),
        ]
        try:
            async for message in session.outbox.messages():
                if message.WhichOneof("message") == "clock":
                    message.clock.t3_ns = self._desk.wall() * 1000
                yield message
            await _say_ending(context, session.outbox.ending)
        finally:
            for timer in timers:
                timer.cancel()
            reader.cancel()
            self._leave(session)

    async def Renew(self, request: fleet_pb2.RenewRequest, context: Any) -> fleet_pb2.RenewResponse:  # noqa: N802
        """A new certificate for the same identity."""
        probe = await self._admit(context)
        is_old = await self._note_certificate(context, probe)
        try:
            certificate = self._authority.issue_probe(
                request.csr_der, probe.probe_id, now=self._now()
            )
        except AuthorityError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._log.info("certificate_renewed", probe_id=probe.probe_id)
        return fleet_pb2.RenewResponse(
            certificate_pem=certificate.public_bytes(Encoding.PEM),
            ca_pem=self._authority.bundle(is_old=is_old),
        )

    # --- from the rest of the coordinator -----------------------------------------------------

    def push_plans(self) -> None:
        """Send every connected probe its plan where that is another than it was last sent."""
        for session in self._live.values():
            session.send_plan()

    def connected(self) -> tuple[Probe, ...]:
        """The probes that hold a session."""
        found = (self._registry.probe(probe_id) for probe_id in tuple(self._live))
        return tuple(probe for probe in found if probe is not None)

    def ask_run(self, probe_id: str, check_no: int) -> None:
        """Have a probe run a check of its plan once, now, if it is connected."""
        self.send(probe_id, fleet_pb2.Down(run=fleet_pb2.Run(check_no=check_no)))

    def is_old(self, probe_id: str) -> bool:
        """Does this probe's session rest on a certificate of the CA that is being replaced?"""
        session = self._live.get(probe_id)
        return session is not None and session.is_old

    def send(self, probe_id: str, message: fleet_pb2.Down) -> None:
        """Tell a probe something, if it is connected."""
        session = self._live.get(probe_id)
        if session is not None:
            session.outbox.put(message)

    def cut(self, probe_id: str, *, reason: str) -> bool:
        """End the live session of a revoked probe at once; False when it has none."""
        session = self._live.get(probe_id)
        if session is None:
            return False
        session.outbox.end(Ending(grpc.StatusCode.PERMISSION_DENIED, reason))
        return True

    def drain(self) -> None:
        """Take no more sessions and end those that are up, after what they are owed."""
        self.draining.set()
        for session in self._live.values():
            session.drain()

    async def wait_empty(self) -> None:
        """Wait until no session is up."""
        while self._live:
            self._ended.clear()
            await self._ended.wait()

    def end_silent(self) -> None:
        """End sessions that missed their heartbeats: keepalive alone misses a stopped probe."""
        now_us = self._desk.wall()
        for session in self._live.values():
            if session.heartbeat_s and is_silent(
                seen_at_us=session.seen_at_us, now_us=now_us, heartbeat_s=session.heartbeat_s
            ):
                session.outbox.end(Ending(grpc.StatusCode.UNAVAILABLE, SILENT))

    # --- inside -------------------------------------------------------------------------------

    async def _admit(self, context: Any) -> Probe:
        """The probe behind a verified certificate, or the end of the call."""
        probe = await self._identify(context)
        if self.draining.is_set():
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "draining")
        if self._desk.store.trouble is not None:
            await _say_ending(
                context,
                Ending(
                    grpc.StatusCode.UNAVAILABLE,
                    "the store takes nothing at the moment",
                    self._desk.retry_after_ms(),
                ),
            )
        self._desk.guard.porter.admit(DOOR, context.peer())
        return probe

    async def _identify(self, context: Any) -> Probe:
        """Who the certificate names, if he may speak, and not too often."""
        guard, peer = self._desk.guard, context.peer()
        guard.porter.answer(DOOR, peer)  # whatever the answer is
        identities = context.auth_context().get("peer_spiffe_id") or []
        names = tuple(bytes(identity).decode("ascii", "replace") for identity in identities)
        probe_id = probe_id_of(names)
        if probe_id is None:
            who = source_of(peer_of(peer)[0])
            guard.refusals.note(DOOR, Refusal.NO_IDENTITY, who=who, certificate=names)
            await _abort(
                context, grpc.StatusCode.PERMISSION_DENIED, "the certificate names no single probe"
            )
        if not guard.may_call(probe_id):
            guard.refusals.note(DOOR, Refusal.TOO_OFTEN, who=probe_id, peer=peer)
            await asyncio.sleep(PAUSE_S)
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            await _say_ending(context, Ending(code, TOO_OFTEN, RETRY_AFTER_MS))
        probe = self._registry.probe(probe_id)
        reason = refuse_probe(probe)
        if probe is None or reason is not None:
            word = Refusal.UNKNOWN_PROBE if probe is None else Refusal.REVOKED
            guard.refusals.note(DOOR, word, who=probe_id, peer=peer, reason=reason)
            at_us = self._desk.wall()
            self._desk.store.record(
                SessionRow(at_us=at_us, probe_id=probe_id, what="refused", detail=reason)
            )
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, reason or "")
        return probe

    async def _note_certificate(self, context: Any, probe: Probe) -> bool:
        """Whether its certificate is of the old CA; that it is of the new one is put down."""
        certificate = _certificate_of(context)
        if certificate is None or self._authority.is_old(certificate):
            return certificate is not None
        if self._authority.previous is not None:
            us = ca_us(self._authority)
            await asyncio.to_thread(self._registry.note_shown, probe.probe_id, ca_us=us)
        return False

    def _take_over(self, session: ProbeSession) -> None:
        """The newest session of a probe is the one: an older one is a ruin, or a second copy."""
        before = self._live.get(session.probe.probe_id)
        if before is not None:
            before.outbox.end(Ending(grpc.StatusCode.ABORTED, "another session took over"))
        self._live[session.probe.probe_id] = session

    def _leave(self, session: ProbeSession) -> None:
        probe_id = session.probe.probe_id
        session.close()
        if self._live.get(probe_id) is session:
            del self._live[probe_id]
            self._desk.presence.leave(probe_id)
        self._ended.set()

    def _expect_hello(self, session: ProbeSession) -> None:
        if not session.heartbeat_s:
            code = grpc.StatusCode.INVALID_ARGUMENT
            session.refuse(code, "no hello in time", refusal=Refusal.NO_HELLO)

    def _expire(self, session: ProbeSession) -> None:
        ending = Ending(grpc.StatusCode.UNAVAILABLE, "the certificate expired; recover it")
        session.outbox.end(ending)

    def _now(self) -> datetime:
        return as_datetime(self._desk.wall())


async def _say_ending(context: Any, ending: Ending | None) -> None:
    if ending is None or ending.code is grpc.StatusCode.OK:
        return
    trailing = (("retry-after-ms", str(ending.retry_after_ms)),) if ending.retry_after_ms else ()
    await context.abort(ending.code, ending.details, trailing)


async def _abort(context: Any, code: grpc.StatusCode, details: str) -> NoReturn:
    await context.abort(code, details)
    raise AssertionError("abort always raises")


def _life_s(context: Any, now: datetime) -> float:
    """How long the peer's certificate is still good for."""
    certificate = _certificate_of(context)
    if certificate is None:
        return 0.0
    return max(0.0, (certificate.not_valid_after_utc - now).total_seconds())


def _certificate_of(context: Any) -> x509.Certificate | None:
    pem = (context.auth_context().get("x509_pem_cert") or [b""])[0]
    with suppress(ValueError):
        return x509.load_pem_x509_certificate(pem)
    return None
