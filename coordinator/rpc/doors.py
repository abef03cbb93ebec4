"""gRPC servers as the coordinator needs them: hard limits, TLS that renews, ports that say why not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]
from grpc_health.v1.health import SERVICE_NAME as HEALTH  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from coordinator.core.settings import Address
from coordinator.ports import PortError, explain_port
from coordinator.rpc.authority import SERVER_LIFE, Authority
from coordinator.rpc.health import Health, Standing
from proto.gen import admin_pb2_grpc, enrolment_pb2_grpc, fleet_pb2_grpc

Server = grpc.aio.Server

BATCH_BYTES_MAX: Final = 1 << 20
"""Of one message on a session. HTTP/2 buffers several; a hostile probe gets no more than that."""

_ENVELOPE_BYTES: Final = 4096

ENROL_BYTES_MAX: Final = 16 << 10
"""Of one message at the enrolment door: a request for a certificate and an old one have two thousand."""

Options = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long strangers are waited for, in milliseconds. Drills shorten it."""

    handshake_ms: int = 10_000  # of TLS and HTTP/2's first words; silent ones stay 120 s by default
    idle_ms: int = 30_000  # a connection without a call
    hello_ms: int = 10_000  # a session whose probe says nothing
    look_ms: int = 1_000  # between two looks at who is there; with nobody new there are none


def _common_options(patience: Patience) -> Options:
    return (
        ("grpc.so_reuseport", 0),  # two coordinators on one port must not share it silently
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16_384),
        # Nobody of ours compresses twice; core would inflate a bomb before it looked at its size.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.server_handshake_timeout_ms", patience.handshake_ms),
        ("grpc.max_connection_idle_ms", patience.idle_ms),
    )


def fleet_options(patience: Patience) -> Options:
    """The limits of the fleet door."""
    return (
        *_common_options(patience),
        ("grpc.max_receive_message_length", BATCH_BYTES_MAX + _ENVELOPE_BYTES),
        ("grpc.max_concurrent_streams", 16),
        ("grpc.http2.bdp_probe", 0),  # else flow control buffers a gigabyte for a stalled store
        ("grpc.server.max_pending_requests", 20_000),  # the whole fleet comes back after a restart
        ("grpc.server.max_pending_requests_hard_limit", 20_000),
        ("grpc.max_connection_age_ms", 3_600_000),
        ("grpc.max_connection_age_grace_ms", 30_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # keepalive_timeout_ms alone detects nothing in 1.85
        ("grpc.http2.ping_timeout_ms", 20_000),
        ("grpc.max_allowed_incoming_connections", 8000),  # guards file descriptors
        ("grpc.tsi.max_frame_size", 4096),  # a buffer of 16 KiB per connection else; we say little
    )


def enrol_options(patience: Patience) -> Options:
    """The limits of the enrolment door: whoever drips a request is gone after a minute."""
    return (
        *_common_options(patience),
        ("grpc.max_receive_message_length", ENROL_BYTES_MAX),
        ("grpc.max_concurrent_streams", 2),
        ("grpc.max_connection_age_ms", 60_000),
        ("grpc.max_connection_age_grace_ms", 5_000),
        ("grpc.max_allowed_incoming_connections", 2000),
    )


ENROL_CALLS_MAX: Final = 200
"""Enrolments at once: each signs a certificate, which is the dearest thing a stranger can ask."""


FLEET: Final = "soundings.v1.FleetService"
ENROLMENT: Final = "soundings.v1.EnrolmentService"
ADMIN: Final = "soundings.v1.AdminService"

SOCKET_PATH_MAX: Final = 107
"""sun_path of unix(7), less its end."""


class ServerIdentity:
    """The coordinator's server certificate, renewed at half life and when its names change.

    gRPC asks for it for every connection that it accepts, from its own threads, which `knock` hears of
    with the door's name; streams that are up stay up.
    """

    def __init__(
        self,
        authority: Authority,
        names: Sequence[str],
        *,
        now: Callable[[], datetime],
        knock: Callable[[str], None],
    ) -> None:
        self._authority = authority
        self._knock = knock
        self._names = tuple(names)
        self._now = now
        self._made_at = now()
        self._current = self._make()
        self._taken: set[str] = set()

    def credentials(self, door: str, *, mutual: bool) -> grpc.ServerCredentials:
        """Credentials of one door; `mutual` = a client without a certificate of ours is refused."""
        self._taken.add(door)

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            self._knock(door)
            if self._now() - self._made_at > SERVER_LIFE / 2:
                self.rename(self._names)
            if door in self._taken:
                return None
            self._taken.add(door)
            return self._current

        return grpc.dynamic_ssl_server_credentials(
            self._current,
            fetch,  # type: ignore[arg-type]  # None means unchanged, as its documentation says
            require_client_authentication=mutual,
        )

    def rename(self, names: Sequence[str]) -> None:
        """Another certificate from now on, for these names."""
        self._names = tuple(names)
        self._made_at = self._now()
        self._current = self._make()
        self._taken.clear()

    def renew(self) -> None:
        """Another certificate from now on, for the same names: the CA changed."""
        self.rename(self._names)

    def _make(self) -> grpc.ServerCertificateConfiguration:
        key, chain = self._authority.issue_server(self._names, now=self._now())
        return grpc.ssl_server_certificate_configuration(
            [(key, chain)], root_certificates=self._authority.trusted_pem
        )


def bind(
    server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials, *, door: str
) -> Address:
    """Bind a door; returns the address with the port really bound.

    Raises PortError saying who holds the port and what to do.
    """
    try:
        port = server.add_secure_port(str(address), credentials)
    except RuntimeError as error:
        raise explain_port(address, key=f"coordinator.{door}") from error
    if port == 0:
        raise explain_port(address, key=f"coordinator.{door}")
    return Address(address.name, port)


def serve_fleet(
    door: fleet_pb2_grpc.FleetServiceServicer, standing: Standing, patience: Patience
) -> Server:
    """The server of the fleet door."""
    server = grpc.aio.server(options=fleet_options(patience))
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(door, server)
    _tell_health(server, Health(FLEET, standing))
    return server


def serve_enrolment(
    door: enrolment_pb2_grpc.EnrolmentServiceServicer, standing: Standing, patience: Patience
) -> Server:
    """The server of the enrolment door."""
    server = grpc.aio.server(
        options=enrol_options(patience), maximum_concurrent_rpcs=ENROL_CALLS_MAX
    )
    enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(door, server)
    _tell_health(server, Health(ENROLMENT, standing, watchable=False))
    return server


def serve_admin(door: admin_pb2_grpc.AdminServiceServicer, standing: Standing) -> Server:
    """The server of the operator's socket, which also describes itself.

    Reflection is here alone: at the other doors it would be code that strangers reach, for probes that
    were compiled from the contract anyway.
    """
    server = grpc.aio.server()
    admin_pb2_grpc.add_AdminServiceServicer_to_server(door, server)
    _tell_health(server, Health(ADMIN, standing))
    names = (ADMIN, HEALTH, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server


def _tell_health(server: Server, health: Health) -> None:
    health_pb2_grpc.add_HealthServicer_to_server(health, server)


async def stop_all(servers: Sequence[grpc.aio.Server], *, grace_s: float) -> None:
    """Stop several servers at once."""
    await asyncio.gather(*(server.stop(grace_s) for server in servers))


def bind_socket(server: grpc.aio.Server, path: Path) -> None:
    """Bind a unix socket that only its owner may use.

    Raises PortError when the path does not fit a socket's address.
    """
    if len(str(path)) > SOCKET_PATH_MAX:
        raise PortError(
            f"{path}: a socket's path has at most {SOCKET_PATH_MAX} characters; name a shorter --data"
        )
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise PortError(f"{path}: the operator's socket cannot be made ({error})") from error
    finally:
        os.umask(before)
