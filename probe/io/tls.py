"""TLS over a stamped stream, and the check kind that stops after the handshake.

OpenSSL works on memory here (`ssl.MemoryBIO`), so we move the bytes ourselves and see every flight:
the time of the handshake is the sum, over the flights, of arrival minus sending. Our own
cryptography and a busy loop are not in it, only the network and the far end.

A bad certificate is a fact, not an accident. The first handshake verifies, and its verdict is the
failure word; then a second connection, which verifies nothing, fetches the leaf itself and lets an
http check go on, because what the platform answers behind a bad certificate is worth knowing. (One
connection would do with a verification callback, which the standard library does not offer.)
"""

from __future__ import annotations

import hashlib
import ssl
from contextlib import ExitStack
from dataclasses import dataclass, replace

import trio

from probe.core.classify import TlsFacts, classify_tls
from probe.core.draft import Draft, Elapsed, fault_of, total_us
from probe.core.httpfacts import ascii_name, why_not_asked
from probe.core.outcome import Outcome, Refusal, not_run
from probe.io.box import Toolbox
from probe.io.reach import Reached, connect_again, draft_of, reach
from probe.io.stream import (
    READ_BYTES,
    Instant,
    StampedStream,
    StepError,
    elapsed_between,
    instant_now,
)
from proto.model import Certificate, Check, ConfigError, Operation, Reason, StampSource

_ALPN = ("http/1.1",)


class BadCertificateError(StepError):
    """The handshake went as far as the certificate, and the certificate is bad."""

    def __init__(self, error: ssl.SSLCertVerificationError) -> None:
        found = classify_tls(TlsFacts(verify_code=error.verify_code))
        super().__init__(
            fault_of(found, f"verify code {error.verify_code}: {error.verify_message}")
        )
        self.verify_code = error.verify_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who answered the handshake."""

    certificate: Certificate | None  # None: the peer showed none
    version: str | None  # "TLSv1.3"
    cipher: str | None


def verifying_context(box: Toolbox) -> ssl.SSLContext:
    """The shared context that trusts the system's authorities, or `ca_file` alone when one is set.

    `ca_file` replaces the system's store instead of adding to it, so that an operator can say
    exactly what is trusted; who wants both puts both into the file.

    Raises:
        ConfigError: `ca_file` cannot be read or holds no certificate.
    """
    context = box.tls_contexts.get("verify")
    if context is None:
        # Reading an authority store costs tens of milliseconds: once, not per check.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authorities(context, box.settings.ca_file)
        context.set_alpn_protocols(list(_ALPN))
        box.tls_contexts["verify"] = context
    return context


def _load_authorities(context: ssl.SSLContext, ca_file: str | None) -> None:
    if ca_file is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # ssl.SSLError is one
        finding = (
            f"{ca_file}: ca_file cannot be used ({error}); name a readable file of PEM certificates"
        )
        raise ConfigError((finding,)) from error


def looking_context(box: Toolbox) -> ssl.SSLContext:
    """The shared context that verifies nothing and speaks old versions: it only looks."""
    context = box.tls_contexts.get("look")
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.set_alpn_protocols(list(_ALPN))
        box.tls_contexts["look"] = context
    return context


class TlsStream:
    """A TLS session over a stamped stream. Every method raises StepError."""

    __slots__ = (
        "_earlier_us",
        "_flight_us",
        "_incoming",
        "_outgoing",
        "_raw",
        "_session",
        "_source",
    )

    def __init__(self, raw: StampedStream, context: ssl.SSLContext, *, name: str) -> None:
        self._raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._earlier_us = 0  # the flights that are complete
        self._flight_us = 0  # the one under way
        self._source = StampSource.KERNEL

    async def handshake(self) -> Peer:
        """Until both sides are done.

        Raises:
            BadCertificateError: it went as far as the certificate, which is bad.
            StepError: everything else.
        """
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange_flight()
            except ssl.SSLError as error:
                self._raw.send_last(self._outgoing.read())  # the alert that tells the peer why
                raise _step_error(error) from error
            else:
                await self._flush(Operation.TLS)
                return self._peer()

    async def send_all(self, data: bytes, *, operation: Operation) -> None:
        """Encrypt and send."""
        self._session.write(data)
        await self._flush(operation)

    async def receive(self, *, operation: Operation) -> bytes:
        """The next decrypted bytes; none when the peer closed, politely or not.

        A close without TLS's own goodbye is common and says nothing where HTTP's framing is
        complete; where it is not, the reply counts as truncated anyway.
        """
        while True:
            try:
                return self._session.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._take(operation)
                await self._flush(operation)  # a key update asks for an answer
            except ssl.SSLError as error:
                if _is_end(error):
                    return b""
                raise _step_error(error) from error

    @property
    def sent_at(self) -> Instant:
        """When the last record went out."""
        return self._raw.sent_at

    @property
    def received_at(self) -> Instant:
        """When the last bytes came in."""
        return self._raw.received_at

    @property
    def elapsed(self) -> Elapsed:
        """What the network and the peer took for the handshake, up to now."""
        return Elapsed(self._earlier_us + self._flight_us, self._source)

    async def _exchange_flight(self) -> None:
        """Send what OpenSSL has to say and take in what comes back.

        Where it has nothing to say the peer's flight came in pieces; the time of a flight always
        counts from our send, because two reads of ours may lie closer together than two arrivals.
        """
        if await self._flush(Operation.TLS):
            self._earlier_us, self._flight_us = self._earlier_us + self._flight_us, 0
        await self._take(Operation.TLS)
        flight = elapsed_between(self._raw.sent_at, self._raw.received_at)
        self._flight_us = flight.us
        if flight.source is not StampSource.KERNEL:
            self._source = flight.source

    async def _flush(self, operation: Operation) -> bool:
        data = self._outgoing.read()
        if data:
            await self._raw.send_all(data, operation=operation)
        return bool(data)

    async def _take(self, operation: Operation) -> None:
        data = await self._raw.receive(operation=operation)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _peer(self) -> Peer:
        der = self._session.getpeercert(binary_form=True)
        cipher = self._session.cipher()
        return Peer(
            certificate=None if der is None else certificate_of(der),
            version=self._session.version(),
            cipher=None if cipher is None else cipher[0],
        )


def certificate_of(der: bytes) -> Certificate:
    """A leaf with its fingerprint."""
    return Certificate(hashlib.sha256(der).hexdigest(), der)


def _is_end(error: ssl.SSLError) -> bool:
    """Did the peer just close? In a handshake, Python before 3.11.4 calls that a clean end."""
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _step_error(error: ssl.SSLError) -> StepError:
    """OpenSSL's complaint, unwrapped into plain values and classified."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return BadCertificateError(error)
    facts = TlsFacts(reason=error.reason, closed=_is_end(error))
    return StepError(fault_of(classify_tls(facts), error.reason or str(error)))


# --- One handshake of a check, recorded ----------------------------------------------------------


async def open_session(
    reached: Reached, box: Toolbox, draft: Draft, *, sockets: ExitStack
) -> TlsStream | None:
    """Shake hands and record it; None when there is nothing to go on with.

    After a bad certificate the session is that of a second connection, made only to look.
    """
    session = _begin(reached, verifying_context(box))
    started = instant_now()
    try:
        peer = await session.handshake()
    except BadCertificateError as error:
        draft.fail(Operation.TLS, error.fault, session.elapsed)
        draft.row = replace(draft.row, cert_verify=error.verify_code, tls_us=session.elapsed.us)
        return await _look(reached, box, draft, sockets=sockets)
    except StepError as error:
        draft.fail(Operation.TLS, error.fault, elapsed_between(started, instant_now()))
        return None
    draft.row = replace(draft.row, cert_verify=0)
    _note_peer(draft, peer, session.elapsed, "handshake completed, certificate verified")
    return session


async def _look(
    reached: Reached, box: Toolbox, draft: Draft, *, sockets: ExitStack
) -> TlsStream | None:
    """Connect again without verifying, for the leaf and for what is behind it."""
    again = await connect_again(reached, box)
    if isinstance(again, Refusal):
        draft.attempts.append(again.attempt)
        return None
    draft.attempts.extend(again.connected.attempts)
    sockets.callback(again.connected.sock.close)
    session = _begin(again, looking_context(box))
    started = instant_now()
    try:
        peer = await session.handshake()
    except StepError as error:
        draft.fail(Operation.TLS, error.fault, elapsed_between(started, instant_now()))
        return None
    _note_peer(draft, peer, session.elapsed, "handshake completed without verifying")
    return session


def raw_stream(reached: Reached) -> StampedStream:
    """The stream of an open connection."""
    return StampedStream(
        reached.connected.sock, address=reached.resolved.address, deadline=reached.deadline
    )


def _begin(reached: Reached, context: ssl.SSLContext) -> TlsStream:
    return TlsStream(raw_stream(reached), context, name=ascii_name(reached.check.host))


def _note_peer(draft: Draft, peer: Peer, elapsed: Elapsed, sentence: str) -> None:
    draft.note(
        Operation.TLS,
        elapsed,
        classified_by=sentence,
        detail=" ".join(word for word in (peer.version, peer.cipher) if word),
    )
    draft.row = replace(draft.row, tls_us=elapsed.us, tls_version=peer.version)
    if peer.certificate is not None:
        draft.row = replace(draft.row, cert_sha256=peer.certificate.sha256)
        draft.certificates.append(peer.certificate)


async def run_tls(check: Check, box: Toolbox) -> Outcome:
    """Resolve, connect, shake hands; the row says who answered and whether to trust them."""
    why = why_not_asked(check)
    if why is not None:
        return not_run(check, reason=Reason.POLICY, why=why)
    reached = await reach(check, box, deadline=trio.current_time() + check.timeout_s)
    if isinstance(reached, Outcome):
        return reached
    draft = draft_of(reached)
    with ExitStack() as sockets:
        sockets.callback(reached.connected.sock.close)
        session = await open_session(reached, box, draft, sockets=sockets)
    if session is not None:
        draft.row = replace(draft.row, total_us=total_us(draft.row))
    return draft.finish()
