"""The enrolment door: a token for a certificate, or an expired certificate for a fresh one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.core.allowance import Allowance, Rate
from coordinator.core.doorway import Refusal, peer_of, source_of
from coordinator.core.registry import Probe, refuse_probe
from coordinator.core.tokens import Refused
from coordinator.rpc.authority import Authority, as_datetime
from coordinator.rpc.guard import PAUSE_S, RETRY_AFTER_MS, Guard
from coordinator.rpc.requests import AuthorityError
from coordinator.store.readers import StoreUnavailableError
from coordinator.store.registry import Registry
from proto.gen import enrolment_pb2, enrolment_pb2_grpc

DOOR: Final = "enrol"

FAILURES: Final = Rate(burst=60, per_s=1.0)
"""Refused enrolments of one source. Guessing 160 bits is hopeless anyway; this keeps the trying from
costing anything, and others from paying for it."""

FAILURES_OF_ALL: Final = Rate(burst=1200, per_s=20.0)
"""And of all sources together, a tenth of a core at most."""

ANYBODY: Final = "anybody"

VERSION_MAX: Final = 64
"""Characters of a program's version that are worth a place in the log."""

CSR_BYTES_MAX: Final = 4096
"""A P-256 request has 300 bytes."""


class EnrolmentDoor(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """The servicer of the port that asks for no client certificate.

    `welcome` is awaited with every probe that is new, before it is told: its rows must find it.
    """

    def __init__(
        self,
        registry: Registry,
        authority: Authority,
        *,
        wall: Callable[[], int],
        fleet_endpoints: Callable[[], list[str]],
        welcome: Callable[[Probe], Awaitable[None]],
        guard: Guard,
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._wall = wall
        self._fleet_endpoints = fleet_endpoints
        self._welcome = welcome
        self._guard = guard
        self._failures = Allowance(FAILURES)
        self._failures_of_all = Allowance(FAILURES_OF_ALL)
        self._log = structlog.get_logger("enrolment")

    async def Enrol(  # noqa: N802  # the name of the call on the wire
        self, request: enrolment_pb2.EnrolRequest, context: Any
    ) -> enrolment_pb2.EnrolResponse:
        """A one-use token and a CSR for a certificate."""
        await self._slow_guessing(context)
        try:
            # Made before the token is used up: a bad request must not cost a token.
            self._check_csr(request.csr_der)
        except AuthorityError as error:
            code = grpc.StatusCode.INVALID_ARGUMENT
            await self._refuse(context, code, str(error), Refusal.BAD_REQUEST)
        answer = await asyncio.to_thread(
            self._registry.enrol,
            token_id=request.token_id,
            secret=request.secret,
            csr_der=request.csr_der,
        )
        if isinstance(answer, Refused):
            code = grpc.StatusCode.UNAUTHENTICATED
            await self._refuse(context, code, answer.reason, Refusal.BAD_TOKEN)
        await self._refuse_revoked(context, answer)
        try:
            await self._welcome(answer)
        except StoreUnavailableError as error:  # the token is bound to this CSR: it may ask again
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"the store takes nothing at the moment: {error}"
            )
        self._log.info(
            "probe_enrolled",
            probe_id=answer.probe_id,
            vantage=answer.name,
            version=request.version[:VERSION_MAX],
            peer=context.peer(),
        )
        self._guard.porter.admit(DOOR, context.peer())
        return enrolment_pb2.EnrolResponse(
            probe_id=answer.probe_id,
            certificate_pem=self._certificate(answer.probe_id, request.csr_der),
            ca_pem=self._authority.bundle(is_old=False),
            fleet_endpoints=self._fleet_endpoints(),
            sent_at_us=self._wall(),
        )

    async def Recover(  # noqa: N802  # the name of the call on the wire
        self, request: enrolment_pb2.RecoverRequest, context: Any
    ) -> enrolment_pb2.RecoverResponse:
        """A certificate for a probe that proves the key of its expired one."""
        await self._slow_guessing(context)
        try:
            self._check_csr(request.csr_der)
            probe_id, is_old = self._authority.probe_of_expired(
                request.expired_certificate_der,
                csr_der=request.csr_der,
                sent_at_us=request.sent_at_us,
                signature=request.signature,
                now=as_datetime(self._wall()),
            )
        except AuthorityError as error:
            code = grpc.StatusCode.UNAUTHENTICATED
            await self._refuse(context, code, str(error), Refusal.BAD_PROOF)
        await self._refuse_revoked(context, self._registry.probe(probe_id))
        self._log.info("certificate_recovered", probe_id=probe_id, peer=context.peer())
        self._guard.porter.admit(DOOR, context.peer())
        return enrolment_pb2.RecoverResponse(
            certificate_pem=self._certificate(probe_id, request.csr_der),
            ca_pem=self._authority.bundle(is_old=is_old),
        )

    def _check_csr(self, csr_der: bytes) -> None:
        if len(csr_der) > CSR_BYTES_MAX:
            raise AuthorityError(f"the CSR is longer than {CSR_BYTES_MAX} bytes")
        self._authority.check_csr(csr_der)

    def _certificate(self, probe_id: str, csr_der: bytes) -> bytes:
        certificate = self._authority.issue_probe(csr_der, probe_id, now=as_datetime(self._wall()))
        return certificate.public_bytes(Encoding.PEM)

    async def _slow_guessing(self, context: Any) -> None:
        """Whoever was refused too often is heard no more for a while."""
        self._guard.porter.answer(DOOR, context.peer())  # whatever the answer is
        now_us, source = self._wall(), source_of(peer_of(context.peer())[0])
        if self._failures.is_spent(source, now_us=now_us):
            details = "too many refused enrolments from this address, wait a minute"
        elif self._failures_of_all.is_spent(ANYBODY, now_us=now_us):
            details = "too many refused enrolments, wait a minute"
        else:
            return
        self._guard.refusals.note(DOOR, Refusal.TOO_OFTEN, who=source, reason=details)
        await asyncio.sleep(PAUSE_S)
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        await context.abort(code, details, (("retry-after-ms", str(RETRY_AFTER_MS)),))

    async def _refuse_revoked(self, context: Any, probe: Probe | None) -> None:
        reason = refuse_probe(probe)
        if reason is not None:
            word = Refusal.UNKNOWN_PROBE if probe is None else Refusal.REVOKED
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, reason, word)

    async def _refuse(
        self, context: Any, code: grpc.StatusCode, reason: str, refusal: Refusal
    ) -> NoReturn:
        now_us, source = self._wall(), source_of(peer_of(context.peer())[0])
        self._failures.may(source, now_us=now_us)
        self._failures_of_all.may(ANYBODY, now_us=now_us)
        self._guard.refusals.note(DOOR, refusal, who=source, reason=reason)
        await context.abort(code, reason)
        raise AssertionError("abort always raises")
