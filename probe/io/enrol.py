"""Enrolment: from a token to a certificate, and from an expired certificate to a new one.

The order is the point. First the server's chain is fetched without trust and compared with the pin
in the token; only when the pinned CA is in it a second connection, which trusts that CA alone,
carries the secret. Key and CSR are written before anything is sent, so that a retry after a lost
reply asks for the same certificate again instead of burning the token.

All of it blocks; it runs before the loop starts, or in a worker thread.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from cryptography import x509
from google.protobuf.message import DecodeError, Message

from probe.exits import Exit, ProbeError
from probe.io import renewal, rpc, trust
from probe.io.clock import clock_note, utc
from probe.io.grpcwire import Status
from probe.io.seal import SERVER_NAME
from probe.io.state import Endpoint, Identity, StateDirectory
from proto.gen import enrolment_pb2

TIMEOUT_S: Final = 15.0
DOORS_MAX: Final = 8
"""Fleet ports of one coordinator that are kept; it has one."""

_REFUSALS: Final = (
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT"),
    *("NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"),
)
_SERVICE: Final = "/soundings.v1.EnrolmentService/"

ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What an enrolment brought."""

    probe_id: str
    endpoint: Endpoint
    clock_note: str | None  # a sentence for the operator when the clock is off


def enrol(
    state: StateDirectory,
    *,
    coordinator: str,
    token_text: str,
    version: str,
    wall: Callable[[], int],
) -> Enrolled:
    """Ask for a certificate and store it. Raises ProbeError with the exit code of its cause."""
    token = trust.parse_token(token_text)
    host, port = rpc.split_endpoint(coordinator)
    state.make()
    csr_der = _own_csr(state)
    ca = _fetch_pinned_ca(host, port, pin=token.pin, now=utc(wall()))
    ca_pem = trust.pem_of(ca)
    request = enrolment_pb2.EnrolRequest(
        token_id=token.token_id,
        secret=token.secret,
        csr_der=csr_der,
        version=version,
        sent_at_us=wall(),
    )
    reply = _call(coordinator, ca_pem, "Enrol", request, enrolment_pb2.EnrolResponse)
    endpoint = Endpoint(
        probe_id=reply.probe_id,
        enrol=coordinator,
        fleet=_doors(coordinator, host, reply.fleet_endpoints),
    )
    _store(state, reply=reply, pinned_ca_pem=ca_pem, endpoint=endpoint)
    note = clock_note(probe_us=wall(), coordinator_us=reply.sent_at_us)
    return Enrolled(probe_id=reply.probe_id, endpoint=endpoint, clock_note=note)


def recover(state: StateDirectory, identity: Identity, *, wall: Callable[[], int]) -> None:
    """Exchange an expired certificate for a new one by proving its key."""
    sent_at_us = wall()
    csr_der = identity.csr_der
    proof = b"soundings-recover" + csr_der + sent_at_us.to_bytes(8, "big")
    request = enrolment_pb2.RecoverRequest(
        expired_certificate_der=trust.der_of(identity.certificate_pem),
        csr_der=csr_der,
        sent_at_us=sent_at_us,
        signature=trust.sign(identity.key_pem, proof),
    )
    reply = _call(
        identity.endpoint.enrol,
        identity.ca_pem,
        "Recover",
        request,
        enrolment_pb2.RecoverResponse,
    )
    renewal.take(state, identity, certificate_pem=reply.certificate_pem, ca_pem=reply.ca_pem)


def _own_csr(state: StateDirectory) -> bytes:
    key_pem = state.read("key.pem")
    if key_pem is None:
        key_pem = trust.new_key_pem()
        state.write("key.pem", key_pem)
    csr_der = state.read("csr.der")
    if csr_der is None:
        csr_der = trust.csr_der(key_pem)
        state.write("csr.der", csr_der)
    return csr_der


def _store(
    state: StateDirectory,
    *,
    reply: enrolment_pb2.EnrolResponse,
    pinned_ca_pem: bytes,
    endpoint: Endpoint,
) -> None:
    """The certificate comes last: it says that all else is there."""
    state.write("ca.pem", renewal.trusted_bundle(pinned_ca_pem, reply.ca_pem))
    state.save_endpoint(endpoint)
    state.write("certificate.pem", reply.certificate_pem)


def _doors(coordinator: str, host: str, named: Sequence[str]) -> tuple[str, ...]:
    """Where the sessions go: to ports of the host that the operator named, and nowhere else.

    The address policy does not look at the link. A coordinator that could name any host would have
    its probes knock at doors of their own networks.
    """
    if not 0 < len(named) <= DOORS_MAX:
        raise _unreachable(coordinator, f"it named {len(named)} fleet ports")
    doors = tuple(_completed(one, host) for one in named)
    for door in doors:
        try:
            elsewhere = rpc.split_endpoint(door)[0] != host
        except ProbeError:
            elsewhere = True
        if elsewhere:
            raise _unreachable(coordinator, f"it named {door[:80]!r}, no fleet port of {host}")
    return doors


def _completed(endpoint: str, host: str) -> str:
    """A fleet endpoint without a host is on the one that the probe enrolled at."""
    if not endpoint.startswith(":"):
        return endpoint
    return f"[{host}]{endpoint}" if ":" in host else f"{host}{endpoint}"


def _fetch_pinned_ca(host: str, port: int, *, pin: bytes, now: datetime) -> x509.Certificate:
    where = f"{host}:{port}"
    try:
        chain = _server_chain(host, port)
    except ssl.SSLError as error:
        raise _unreachable(where, f"TLS failed ({error.reason or error})") from error
    except OSError as error:
        raise _unreachable(where, error.strerror or str(error) or type(error).__name__) from error
    except UnicodeError as error:
        raise _unreachable(where, f"{host!r} is no name that DNS could hold") from error
    ca = trust.pinned_ca(chain, pin)
    if ca is None:
        raise ProbeError(
            f"{where}: none of the {len(chain)} certificates that it sent is the one that the token "
            "pins: the end of the token is mistyped, this is another coordinator, or somebody sits in "
            "between; the token was not sent; compare it with what was printed, check the address, or "
            "create a token on that coordinator",
            code=Exit.WRONG_PIN,
        )
    _require_plausible_clock(chain, where=where, now=now)
    return ca


def _require_plausible_clock(chain: tuple[bytes, ...], *, where: str, now: datetime) -> None:
    for der in chain:
        life = trust.lifetime_of(x509.load_der_x509_certificate(der))
        if not life.begun(now) or life.ended(now):
            raise ProbeError(
                f"{where}: its certificate is valid from {life.begins_at:%Y-%m-%d %H:%M} to "
                f"{life.ends_at:%Y-%m-%d %H:%M} UTC, but this machine's clock says "
                f"{now:%Y-%m-%d %H:%M} UTC; set the clock (`timedatectl set-ntp true`), or renew "
                "the coordinator's certificate",
                code=Exit.CLOCK_OFF,
            )


def _server_chain(host: str, port: int) -> tuple[bytes, ...]:
    """The certificates that a server sends, as DER, trusted or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), TIMEOUT_S) as raw,
        context.wrap_socket(raw, server_hostname=SERVER_NAME) as wrapped,
    ):
        return _unverified_chain(wrapped)


def _unverified_chain(wrapped: ssl.SSLSocket) -> tuple[bytes, ...]:
    # Public as SSLSocket.get_unverified_chain since Python 3.13, which returns bytes; on 3.11 the
    # same function of the inner object returns certificate objects.
    source: Any = wrapped if hasattr(wrapped, "get_unverified_chain") else wrapped._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    chain = source.get_unverified_chain() or ()
    return tuple(
        one if isinstance(one, bytes) else ssl.PEM_cert_to_DER_cert(one.public_bytes())
        for one in chain
    )


def _call(
    where: str, ca_pem: bytes, method: str, request: Message, response: type[ResponseT]
) -> ResponseT:
    try:
        answer = rpc.ask(
            where,
            rpc.trusting(ca_pem),
            _SERVICE + method,
            request.SerializeToString(),
            timeout_s=TIMEOUT_S,
        )
        return response.FromString(answer)
    except rpc.CallError as error:
        raise _refused(where, error.status) from error
    except DecodeError as error:
        raise _unreachable(where, "its answer cannot be read") from error


def _refused(where: str, status: Status) -> ProbeError:
    if status.code in _REFUSALS:
        return ProbeError(
            f"{where}: the coordinator refused: {status.details}; create a new token with "
            "`soundings coordinator token create`",
            code=Exit.TOKEN_REFUSED,
        )
    return _unreachable(where, f"{status.code}: {status.details}")


def _unreachable(where: str, why: str) -> ProbeError:
    return ProbeError(
        f"{where}: the coordinator cannot be reached: {why}; check address and port (the enrolment "
        "port, usually 7444), that it runs, and that no firewall is in between",
        code=Exit.UNREACHABLE,
    )
