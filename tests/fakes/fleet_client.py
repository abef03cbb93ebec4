"""The smallest client of the two doors: enrols, opens a session, sends what a test hands it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coordinator.core.tokens import parse_token
from coordinator.rpc.authority import RECOVERY_MESSAGE, SERVER_NAME, SPIFFE_PREFIX
from proto.codec import plan_from_wire
from proto.gen import enrolment_pb2, enrolment_pb2_grpc, fleet_pb2, fleet_pb2_grpc
from proto.model import Plan

OPTIONS = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)
REPLY_WITHIN_S = 20.0


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def csr_of(key: Any) -> bytes:
    """A request for this key; its name is of no importance."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    return request.sign(key, hashes.SHA256()).public_bytes(ser.Encoding.DER)


def key_pem(key: Any) -> bytes:
    """A key as gRPC wants it."""
    return key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a probe holds after enrolment."""

    probe_id: str
    key: bytes
    certificate: bytes
    ca: bytes

    def channel(self) -> grpc.ChannelCredentials:
        """For the fleet door."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)


async def enrol(address: str, token: str, ca: bytes, *, key: Any = None) -> Credentials:
    """Enrol with a token; raises AioRpcError as the door refuses."""
    key = key or new_key()
    token_id, secret, _ = parse_token(token)
    request = enrolment_pb2.EnrolRequest(
        token_id=token_id, secret=secret, csr_der=csr_of(key), version="test"
    )
    reply = await ask_enrolment(address, ca, "Enrol", request)
    return Credentials(reply.probe_id, key_pem(key), reply.certificate_pem, reply.ca_pem)


async def recover(
    address: str, old: Credentials, *, sent_at_us: int, signing_key: Any = None
) -> Credentials:
    """A fresh certificate for an expired one."""
    key = ser.load_pem_private_key(old.key, None)
    csr = csr_of(key)
    message = RECOVERY_MESSAGE + csr + sent_at_us.to_bytes(8, "big", signed=True)
    certificate = x509.load_pem_x509_certificate(old.certificate)
    request = enrolment_pb2.RecoverRequest(
        expired_certificate_der=certificate.public_bytes(ser.Encoding.DER),
        csr_der=csr,
        sent_at_us=sent_at_us,
        signature=(signing_key or key).sign(message, ec.ECDSA(hashes.SHA256())),
    )
    reply = await ask_enrolment(address, old.ca, "Recover", request)
    return Credentials(
        _probe_id(reply.certificate_pem), old.key, reply.certificate_pem, reply.ca_pem
    )


def _probe_id(certificate_pem: bytes) -> str:
    """Whose certificate it is, as the doors read it."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uri.removeprefix(SPIFFE_PREFIX)


async def ask_enrolment(address: str, ca: bytes, call: str, request: Any) -> Any:
    """One call on the enrolment door."""
    credentials = grpc.ssl_channel_credentials(ca)
    async with grpc.aio.secure_channel(address, credentials, OPTIONS) as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        return await getattr(stub, call)(request, timeout=REPLY_WITHIN_S)


class Line:
    """An open session."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def send(self, **message: Any) -> None:
        """Send one message, named as in Up."""
        await self._call.write(fleet_pb2.Up(**message))

    async def hello(self, **fields: Any) -> tuple[fleet_pb2.Welcome, Plan]:
        """Greet, and take the welcome and the plan that follow."""
        good = {"boot_id": "boot", "version": "1", "epoch": 7, "families": [4], "next_seq": 1}
        await self.send(hello=fleet_pb2.Hello(**{**good, **fields}))
        welcome = await self.receive("welcome")
        signed = await self.receive("plan")
        return welcome, plan_from_wire(signed.plan)

    async def receive(self, kind: str) -> Any:
        """The next message, which must be of this kind."""
        message = await self.next()
        assert message.WhichOneof("message") == kind, message
        return getattr(message, kind)

    async def next(self) -> fleet_pb2.Down:
        """The next message; raises AioRpcError as the session ends."""
        async with asyncio.timeout(REPLY_WITHIN_S):
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise EndedError(await self._call.code(), await self._call.details() or "")
        return message

    async def ended(self) -> EndedError:
        """Read on until the session ends, and say how."""
        try:
            while True:
                await self.next()
        except EndedError as error:
            return error
        except grpc.aio.AioRpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            return EndedError(error.code(), error.details() or "", trailing)

    async def hang_up(self) -> None:
        """Say that nothing follows."""
        await self._call.done_writing()


class EndedError(Exception):
    """A session ended with this status."""

    def __init__(
        self, code: grpc.StatusCode, details: str, trailing: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details
        self.trailing = trailing or {}


@asynccontextmanager
async def session(address: str, credentials: grpc.ChannelCredentials) -> AsyncIterator[Line]:
    """A session on the fleet door."""
    async with grpc.aio.secure_channel(address, credentials, OPTIONS) as channel:
        call = fleet_pb2_grpc.FleetServiceStub(channel).Session()
        try:
            yield Line(call)
        finally:
            call.cancel()


async def renew(address: str, credentials: Credentials, csr_der: bytes) -> fleet_pb2.RenewResponse:
    """A new certificate over the fleet door."""
    async with grpc.aio.secure_channel(address, credentials.channel(), OPTIONS) as channel:
        stub = fleet_pb2_grpc.FleetServiceStub(channel)
        reply: fleet_pb2.RenewResponse = await stub.Renew(
            fleet_pb2.RenewRequest(csr_der=csr_der), timeout=REPLY_WITHIN_S
        )
        return reply
