"""A small coordinator on loopback that speaks the real protocol: real gRPC, mTLS, signed plans.

It keeps what it got in plain lists, and does as a test tells it: hold back acks, fall silent, refuse.
"""

from __future__ import annotations

import base64
import datetime as dt
import queue
import secrets
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from probe.io.trust import pin_of
from proto.codec import plan_seal, plan_to_wire, report_from_wire
from proto.gen import (
    enrolment_pb2,
    enrolment_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    plan_pb2,
)
from proto.model import Plan, Result

PROBE_ID = "probe-1"
"""The name that every enrolment here is given."""


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A certificate authority with a key of its own."""

    def __init__(self, *, begins: dt.timedelta = dt.timedelta(days=-2)) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.begins_at = dt.datetime.fromtimestamp(time.time_ns() // 10**9, dt.UTC) + begins
        self.certificate = (
            self._builder("CA", self.key.public_key(), dt.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def issue(self, key: Any, *, san: x509.GeneralName, server: bool, life: dt.timedelta) -> bytes:
        """A leaf certificate as PEM."""
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        return (
            self._builder("leaf", key, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([san]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self.key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )

    def server_pair(self) -> tuple[bytes, bytes]:
        """A fresh key of a coordinator and its chain (leaf, CA), as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self.issue(
            key.public_key(),
            san=x509.DNSName("soundings-coordinator"),
            server=True,
            life=dt.timedelta(days=90),
        )
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key_pem, leaf + self.pem

    def successor(self) -> Authority:
        """A new authority whose certificate this one signed."""
        made = Authority()
        limits = x509.BasicConstraints(ca=True, path_length=0)
        signed = (
            made._builder("CA", made.key.public_key(), dt.timedelta(days=99))
            .add_extension(limits, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        made.certificate, made.pem = signed, signed.public_bytes(Encoding.PEM)
        return made

    def token(self, secret: bytes, *, token_id: bytes = b"token1") -> str:
        """A token that pins this authority."""
        raw = token_id + secret + pin_of(self.certificate)
        return "snd1_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def sign(
        self, plan: Plan, *, probe_id: str = PROBE_ID, once: bool = False
    ) -> plan_pb2.SignedPlan:
        """A plan as the probe of this name accepts it, to follow or to run once."""
        body = plan_to_wire(plan)
        sealed = plan_seal(body, probe_id=probe_id, once=once)
        signature = self.key.sign(sealed, ec.ECDSA(hashes.SHA256()))
        return plan_pb2.SignedPlan(plan=body, signature=signature, probe_id=probe_id)

    def _builder(self, name: str, key: Any, life: dt.timedelta) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("CA"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins_at)
            .not_valid_after(self.begins_at + dt.timedelta(days=2) + life)
        )


def _server_credentials(authority: Authority, *, mutual: bool) -> grpc.ServerCredentials:
    pair = [authority.server_pair()]
    if not mutual:
        return grpc.ssl_server_credentials(pair)
    return grpc.ssl_server_credentials(
        pair, root_certificates=authority.pem, require_client_auth=True
    )


@dataclass
class Behaviour:
    """What a test asks of the fake."""

    plan: Plan | None = None
    window: int = 8
    max_batch_bytes: int = 1 << 20
    ack: bool = True
    answer_clock: bool = True
    clock_offset_us: int = 0
    sees: str = "127.0.0.1"  # the address that probes are told they come from
    first_words: fleet_pb2.Down | None = None  # said before the welcome
    reject: Callable[[int], bool] = lambda _seq: False
    cut: Callable[[int], bool] = lambda _seq: False  # the session ends instead of the ack
    fleet_port: int | None = None  # told at enrolment instead of the real one
    fleet_endpoints: tuple[str, ...] | None = None  # likewise, as they are
    certificate_life: dt.timedelta = dt.timedelta(days=14)


@dataclass
class Seen:
    """What came in, over all sessions."""

    hellos: list[fleet_pb2.Hello] = field(default_factory=list)
    heartbeats: list[fleet_pb2.Heartbeat] = field(default_factory=list)
    clocks: list[fleet_pb2.ClockAsk] = field(default_factory=list)
    batches: list[fleet_pb2.Batch] = field(default_factory=list)
    rows: list[Result] = field(default_factory=list)
    marks: dict[int, int] = field(default_factory=dict)
    renewals: int = 0
    left: int = 0  # sessions whose probe says nothing more
    enrolments: list[enrolment_pb2.EnrolRequest] = field(default_factory=list)


class Coordinator(fleet_pb2_grpc.FleetServiceServicer, enrolment_pb2_grpc.EnrolmentServiceServicer):
    """Both doors on free ports of 127.0.0.1."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.authority = authority or Authority()
        self.behaviour = Behaviour()
        self.seen = Seen()
        self.secret = secrets.token_bytes(20)
        self.fleet_port = 0
        self.enrol_port = 0
        self._bound_csr: bytes | None = None
        self._changed = threading.Condition()
        self._sessions: list[tuple[queue.SimpleQueue[Any], Any]] = []
        self._servers: list[grpc.Server] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def token(self) -> str:
        """A token that this coordinator takes."""
        return self.authority.token(self.secret)

    def start(self) -> None:
        """Open both doors, on the ports of the last time if there was one."""
        fleet = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(self, fleet)
        self.fleet_port = fleet.add_secure_port(
            f"127.0.0.1:{self.fleet_port}", _server_credentials(self.authority, mutual=True)
        )
        enrol = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
        enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(self, enrol)
        self.enrol_port = enrol.add_secure_port(
            f"127.0.0.1:{self.enrol_port}", _server_credentials(self.authority, mutual=False)
        )
        self._servers = [fleet, enrol]
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        """Close both doors at once."""
        for outgoing, _ in self._sessions:
            outgoing.put(None)
        self._sessions = []
        for server in self._servers:
            server.stop(0).wait()

    def wait(self, condition: Callable[[Seen], bool], *, timeout_s: float = 20.0) -> None:
        """Block (in a worker thread) until what was seen fulfils a condition."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.seen), timeout_s):
                raise TimeoutError(f"not seen within {timeout_s} s: {self.seen}")

    def push(self, down: fleet_pb2.Down) -> None:
        """Say something on every session."""
        for outgoing, _ in self._sessions:
            outgoing.put(down)

    def drop_sessions(self) -> None:
        """End every session with UNAVAILABLE and a wish."""
        for outgoing, context in self._sessions:
            context.set_trailing_metadata((("retry-after-ms", "50"),))
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            context.set_details("draining")
            outgoing.put(None)
        self._sessions = []

    # --- the fleet door -------------------------------------------------------------------------

    def Session(self, request_iterator: Any, context: Any) -> Iterator[fleet_pb2.Down]:  # noqa: N802  # the name of the rpc
        """One stream: a thread reads, this one writes."""
        outgoing: queue.SimpleQueue[fleet_pb2.Down | None] = queue.SimpleQueue()
        self._sessions.append((outgoing, context))
        reader = threading.Thread(target=self._read, args=(request_iterator, outgoing), daemon=True)
        reader.start()
        while (down := outgoing.get()) is not None:
            yield down

    def Renew(self, request: Any, context: Any) -> fleet_pb2.RenewResponse:  # noqa: N802  # the name of the rpc
        """A new certificate for the same key."""
        self._note(lambda: setattr(self.seen, "renewals", self.seen.renewals + 1))
        return fleet_pb2.RenewResponse(
            certificate_pem=self._certificate(request.csr_der), ca_pem=self.authority.pem
        )

    def _read(self, requests: Any, outgoing: queue.SimpleQueue[fleet_pb2.Down | None]) -> None:
        try:
            for up in requests:
                self._take(up, outgoing)
        except grpc.RpcError:
            pass
        self._note(lambda: setattr(self.seen, "left", self.seen.left + 1))
        outgoing.put(None)

    def _take(self, up: fleet_pb2.Up, outgoing: queue.SimpleQueue[Any]) -> None:
        match up.WhichOneof("message"):
            case "hello":
                self._note(lambda: self.seen.hellos.append(up.hello))
                self._welcome(outgoing)
            case "heartbeat":
                self._note(lambda: self.seen.heartbeats.append(up.heartbeat))
            case "clock":
                self._note(lambda: self.seen.clocks.append(up.clock))
                if self.behaviour.answer_clock:
                    now = time.time_ns() + self.behaviour.clock_offset_us * 1000
                    reply = fleet_pb2.ClockReply(t1_ns=up.clock.t1_ns, t2_ns=now, t3_ns=now)
                    outgoing.put(fleet_pb2.Down(clock=reply))
            case "batch":
                self._take_batch(up.batch, outgoing)

    def _welcome(self, outgoing: queue.SimpleQueue[Any]) -> None:
        if self.behaviour.first_words is not None:
            outgoing.put(self.behaviour.first_words)
            self.behaviour.first_words = None
        have = [fleet_pb2.Ack(epoch=e, seq=s) for e, s in self.seen.marks.items()]
        welcome = fleet_pb2.Welcome(
            window=self.behaviour.window,
            max_batch_bytes=self.behaviour.max_batch_bytes,
            have=have,
            sent_at_us=time.time_ns() // 1000 + self.behaviour.clock_offset_us,
            address=self.behaviour.sees,
        )
        outgoing.put(fleet_pb2.Down(welcome=welcome))
        if self.behaviour.plan is not None:
            outgoing.put(fleet_pb2.Down(plan=self.authority.sign(self.behaviour.plan)))

    def _take_batch(self, batch: fleet_pb2.Batch, outgoing: queue.SimpleQueue[Any]) -> None:
        refused = self.behaviour.reject(batch.seq)
        rows: tuple[Result, ...] = ()
        if not refused:
            rows = report_from_wire(zlib.decompress(batch.body)).results

        def note() -> None:
            # Decided under the lock: a cut session's last words may race with its successor's.
            known = batch.seq <= self.seen.marks.get(batch.epoch, 0)
            self.seen.batches.append(batch)
            if self.behaviour.ack and not refused and not known:
                self.seen.rows.extend(rows)
                self.seen.marks[batch.epoch] = max(batch.seq, self.seen.marks.get(batch.epoch, 0))

        self._note(note)
        if refused:
            reject = fleet_pb2.Reject(epoch=batch.epoch, seq=batch.seq, reason="as told")
            outgoing.put(fleet_pb2.Down(reject=reject))
        elif self.behaviour.cut(batch.seq):
            self.drop_sessions()
        elif self.behaviour.ack:
            outgoing.put(fleet_pb2.Down(ack=fleet_pb2.Ack(epoch=batch.epoch, seq=batch.seq)))

    def _note(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    # --- the enrolment door ---------------------------------------------------------------------

    def Enrol(self, request: Any, context: Any) -> enrolment_pb2.EnrolResponse:  # noqa: N802  # the name of the rpc
        """One use, bound to the CSR."""
        if request.secret != self.secret:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the token is not known")
        if self._bound_csr not in {None, request.csr_der}:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the token was used already")
        self._bound_csr = request.csr_der
        self._note(lambda: self.seen.enrolments.append(request))
        return self._enrolled(request.csr_der)

    def Recover(self, request: Any, context: Any) -> enrolment_pb2.RecoverResponse:  # noqa: N802  # the name of the rpc
        """Proof of the key of an expired certificate."""
        old = x509.load_der_x509_certificate(request.expired_certificate_der)
        proof = b"soundings-recover" + request.csr_der + request.sent_at_us.to_bytes(8, "big")
        key = old.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(request.signature, proof, ec.ECDSA(hashes.SHA256()))
        return enrolment_pb2.RecoverResponse(
            certificate_pem=self._certificate(request.csr_der), ca_pem=self.authority.pem
        )

    def _enrolled(self, csr_der: bytes) -> enrolment_pb2.EnrolResponse:
        return enrolment_pb2.EnrolResponse(
            probe_id=PROBE_ID,
            certificate_pem=self._certificate(csr_der),
            ca_pem=self.authority.pem,
            fleet_endpoints=self.behaviour.fleet_endpoints
            or [f":{self.behaviour.fleet_port or self.fleet_port}"],
            sent_at_us=time.time_ns() // 1000 + self.behaviour.clock_offset_us,
        )

    def _certificate(self, csr_der: bytes) -> bytes:
        key = x509.load_der_x509_csr(csr_der).public_key()
        return self.authority.issue(
            key,
            san=x509.UniformResourceIdentifier("spiffe://soundings/probe/probe-1"),
            server=False,
            life=self.behaviour.certificate_life,
        )


def tls_context(coordinator: Coordinator, path: Path) -> ssl.SSLContext:
    """TLS of a server that this coordinator's probes believe."""
    key_pem, chain_pem = coordinator.authority.server_pair()
    (path / "server.pem").write_bytes(key_pem + chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path / "server.pem")
    context.set_alpn_protocols(["h2"])
    return context
