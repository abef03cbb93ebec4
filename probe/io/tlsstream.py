"""TLS over a stamped stream.

OpenSSL works on memory here (`ssl.MemoryBIO`), so we move the bytes ourselves and see every flight:
the time of the handshake is the sum, over the flights, of arrival minus sending. Our own
cryptography and a busy loop are not in it, only the network and the far end.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass

from probe.core.classify import TlsFacts, alert_name, classify_tls
from probe.core.draft import Elapsed, fault_of
from probe.io.stream import READ_BYTES, Instant, StampedStream, StepError, elapsed_between
from proto.model import Certificate, Operation, StampSource


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
    alpn: str | None  # the protocol agreed on; None: the peer named none


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
        # As bytes: a text would be encoded by IDNA once more, which takes 5 us.
        self._session = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=name.encode("ascii")
        )
        self._earlier_us = 0  # the flights that are complete
        self._flight_us = 0  # the one under way
        self._source = StampSource.KERNEL

    async def handshake(self, *, goes_on: bool) -> Peer:
        """Until both sides are done.

        Args:
            goes_on: something will be sent at once; what we owe to the handshake leaves with that.

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
                if not goes_on:
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
        is_empty = not (self._incoming.pending or self._incoming.eof or self._session.pending())
        while True:
            if is_empty:  # then to look is an exception for nothing
                await self._take(operation)
            try:
                return self._session.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush(operation)  # a key update asks for an answer
                is_empty = True
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
    def alpn(self) -> str | None:
        """The protocol that the peer chose of those offered (RFC 7301)."""
        return self._session.selected_alpn_protocol()

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
        if not self._outgoing.pending:
            return False
        await self._raw.send_all(self._outgoing.read(), operation=operation)
        return True

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
            alpn=self.alpn,
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
    reason = _reason(error)
    facts = TlsFacts(reason=reason, closed=_is_end(error))
    alert = alert_name(reason or "")
    return StepError(
        fault_of(classify_tls(facts), f"alert {alert}" if alert else reason or str(error))
    )


def _reason(error: ssl.SSLError) -> str | None:
    """OpenSSL's reason in the spelling of its headers.

    Python names those that it knew when it was built; what came later (the alert
    no_application_protocol is one) it leaves to the text: `[SSL] tlsv1 alert ... (_ssl.c:1006)`.
    """
    spelt = str(error).partition("] ")[2].partition(" (")[0].upper().replace(" ", "_")
    return error.reason or (spelt if alert_name(spelt) else None)
