"""The enrolment door: a token for a certificate, or an expired certificate for a fresh one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.core.registry import Probe, refuse_probe
from coordinator.core.tokens import Refused
from coordinator.rpc.authority import Authority, AuthorityError, as_datetime
from coordinator.store.readers import StoreUnavailableError
from coordinator.store.registry import Registry
from proto.gen import enrolment_pb2, enrolment_pb2_grpc

FAILURES_PER_MINUTE_MAX: Final = 600
"""Guessing a 160-bit secret is hopeless anyway; this keeps the trying from costing anything."""

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
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._wall = wall
        self._fleet_endpoints = fleet_endpoints
        self._welcome = welcome
        self._failures: deque[int] = deque(maxlen=FAILURES_PER_MINUTE_MAX)
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
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = await asyncio.to_thread(
            self._registry.enrol,
            token_id=request.token_id,
            secret=request.secret,
            csr_der=request.csr_der,
        )
        if isinstance(answer, Refused):
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, answer.reason)
        refusal = refuse_probe(answer)
        if refusal is not None:
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, refusal)
        try:
            await self._welcome(answer)
        except StoreUnavailableError as error:  # the token is bound to this CSR: it may ask again
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"the store takes nothing at the moment: {error}"
            )
        self._log.info(
            "probe enrolled",
            probe_id=answer.probe_id,
            vantage=answer.name,
            version=request.version,
            peer=context.peer(),
        )
        return enrolment_pb2.EnrolResponse(
            probe_id=answer.probe_id,
            certificate_pem=self._certificate(answer.probe_id, request.csr_der),
            ca_pem=self._authority.certificate_pem,
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
            probe_id = self._authority.probe_of_expired(
                request.expired_certificate_der,
                csr_der=request.csr_der,
                sent_at_us=request.sent_at_us,
                signature=request.signature,
                now=as_datetime(self._wall()),
            )
        except AuthorityError as error:
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, str(error))
        refusal = refuse_probe(self._registry.probe(probe_id))
        if refusal is not None:
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, refusal)
        self._log.info("certificate recovered", probe_id=probe_id, peer=context.peer())
        return enrolment_pb2.RecoverResponse(
            certificate_pem=self._certificate(probe_id, request.csr_der),
            ca_pem=self._authority.certificate_pem,
        )

    def _check_csr(self, csr_der: bytes) -> None:
        if len(csr_der) > CSR_BYTES_MAX:
            raise AuthorityError(f"the CSR is longer than {CSR_BYTES_MAX} bytes")
        self._authority.check_csr(csr_der)

    def _certificate(self, probe_id: str, csr_der: bytes) -> bytes:
        certificate = self._authority.issue_probe(csr_der, probe_id, now=as_datetime(self._wall()))
        return certificate.public_bytes(Encoding.PEM)

    async def _slow_guessing(self, context: Any) -> None:
        minute_ago_us = self._wall() - 60_000_000
        full = len(self._failures) == FAILURES_PER_MINUTE_MAX
        if full and self._failures[0] > minute_ago_us:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            await context.abort(
                code, "too many refused enrolments, wait a minute", (("retry-after-ms", "60000"),)
            )

    async def _refuse(self, context: Any, code: grpc.StatusCode, reason: str) -> NoReturn:
        self._failures.append(self._wall())
        self._log.warning("enrolment refused", reason=reason, peer=context.peer())
        await context.abort(code, reason)
        raise AssertionError("abort always raises")
