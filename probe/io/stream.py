"""An open TCP connection whose bytes carry the kernel's time of arrival.

A loop that serves a thousand other checks gets to a socket late, milliseconds and more; the kernel
stamped the bytes when they came. So every read remembers that stamp, every send remembers the
moment right before it, and the time of an exchange is their difference: network and far end only.
The stamps are wall-clock times. A difference is believed when it lies between zero and what the
monotonic clock says went by; else the clock was stepped, and the monotonic figure is used and named.

A deadline that fires says only that *we* are late to look. Before calling it a timeout the socket is
read once more, and what arrived in time by the kernel's stamp counts. If then the peer would have
had to act again, and could not because we came late, that is overload of this machine and no fault
of the peer's.

An ICMP error that reaches an established connection is a hint, not an end (RFC 1122 4.2.3.9): TCP
goes on, and so do we. If nothing follows before the deadline, the hint says why.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Mapping
from typing import Final, NamedTuple

import trio

from probe.core.classify import NetworkFacts, classify_network, describe_network
from probe.core.draft import Elapsed, Fault, fault_of
from probe.io import stamps
from probe.io.waits import IN_A_TASK, Waits
from proto.model import Failure, Operation

# Small enough that the stamp of a read lies close to the first byte in it, large enough for a
# whole TLS flight.
READ_BYTES = 16384
# What an ICMP error makes of the next call on a connection that stands: TCP itself survives it. The
# kernel queues no packet for these, so the errno is all there is; a reset would be ECONNRESET.
_HINTS: Final[Mapping[int, Failure]] = {
    errno.EHOSTUNREACH: Failure.HOST_UNREACHABLE,
    errno.ENETUNREACH: Failure.NET_UNREACHABLE,
    errno.EACCES: Failure.PROHIBITED,
    errno.ENOPROTOOPT: Failure.REJECTED,
    errno.ECONNREFUSED: Failure.REJECTED,
}


# Bytes that lay here this long before we looked were waiting for us. Less is the ordinary course of a
# transfer that the deadline cuts.
_LAG_NS: Final = 100_000_000
_TOO_LATE: Final = Fault(
    Failure.LOCAL_OVERLOAD,
    "what the peer sent in time was read too late to answer it in time -> local_overload",
)


class Instant(NamedTuple):
    """One moment by both clocks. `wall_ns` is the kernel's stamp where `is_stamped`."""

    wall_ns: int
    at_s: float  # trio's clock
    is_stamped: bool = False


class StepError(Exception):
    """A step on an open connection failed; carries the words, so that no caller guesses."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail or fault.classified_by)
        self.fault = fault


def instant_now() -> Instant:
    """This moment, unstamped."""
    return Instant(stamps.now_ns(), trio.current_time())


def elapsed_between(start: Instant, end: Instant) -> Elapsed:
    """From `start` to `end`, by the kernel's stamp where it can be believed."""
    us, source = stamps.round_trip(
        sent_ns=start.wall_ns,
        stamp_ns=end.wall_ns if end.is_stamped else None,
        elapsed_us=round((end.at_s - start.at_s) * 1e6),
    )
    return Elapsed(us, source)


class StampedStream:
    """Send and receive on a connected, non-blocking socket until a deadline.

    `sent_at` is the moment before the last send, `received_at` that of the last bytes read. The
    socket stays the caller's to close. Every method raises StepError.
    """

    __slots__ = (
        "_address",
        "_asked",
        "_deadline",
        "_deadline_wall_ns",
        "_hint",
        "_is_late",
        "_sock",
        "_waits",
        "received_at",
        "sent_at",
    )

    def __init__(
        self, sock: socket.socket, *, address: str, deadline: float, waits: Waits = IN_A_TASK
    ) -> None:
        self._sock = sock
        self._waits = waits
        self._address = address
        self._deadline = deadline
        self.sent_at = self.received_at = now = instant_now()
        self._deadline_wall_ns = now.wall_ns + int((deadline - now.at_s) * 1e9)
        self._is_late = False  # bytes that came in time lay here past the deadline
        self._asked = False  # what was sent last has no answer yet
        self._hint: int | None = None  # errno of an ICMP error that TCP survived

    async def send_all(self, data: bytes, *, operation: Operation) -> None:
        """Hand all of `data` to the kernel."""
        self.sent_at = instant_now()
        self._asked = True
        left = data
        while left:
            try:
                left = left[self._sock.send(left) :]
            except BlockingIOError:
                if not await self._waits.writable(self._sock, self._deadline):
                    raise self._out_of_time(operation) from None
            except OSError as error:
                self._keep_hint(error, operation)

    async def receive(self, *, operation: Operation) -> bytes:
        """The next bytes; none when the peer closed."""
        is_in_time = True
        if self._asked:
            # The answer is hardly here already: to look for it first is a call for nothing.
            is_in_time = await self._waits.readable(self._sock, self._deadline)
            self._asked = False
        else:
            # A peer that never pauses must not keep the loop from the other checks.
            await self._waits.turn()
        while True:
            data = self._read(operation)
            if data is not None:
                return data
            if not is_in_time:
                raise self._out_of_time(operation)
            is_in_time = await self._waits.readable(self._sock, self._deadline)

    def send_last(self, data: bytes) -> None:
        """Say goodbye (a TLS alert) if that is possible at once; nobody waits for it."""
        with contextlib.suppress(OSError):
            self._sock.send(data)

    def _read(self, operation: Operation) -> bytes | None:
        """What lies in the kernel now; None when that is nothing."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(READ_BYTES, stamps.ANCILLARY_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            self._keep_hint(error, operation)
            return None
        if data:
            now_s, stamp_ns = trio.current_time(), stamps.read_stamp(ancillary)
            if stamp_ns is None:
                self.received_at = Instant(stamps.now_ns(), now_s)
            else:
                self.received_at = Instant(stamp_ns, now_s, is_stamped=True)
            if now_s > self._deadline:
                self._judge_lateness(operation)
        return data

    def _judge_lateness(self, operation: Operation) -> None:
        """Of bytes that were read after the deadline."""
        stamped = self.received_at
        if not stamped.is_stamped or stamped.wall_ns > self._deadline_wall_ns:
            raise self._out_of_time(operation)
        self._is_late = self._is_late or stamps.now_ns() - stamped.wall_ns > _LAG_NS

    def _keep_hint(self, error: OSError, operation: Operation) -> None:
        if error.errno not in _HINTS:
            raise self._broken(error.errno, operation) from error
        self._hint = error.errno

    def _out_of_time(self, operation: Operation) -> StepError:
        if self._is_late:
            return StepError(_TOO_LATE)
        if self._hint is None:
            return self._broken(None, operation)
        failure, name = _HINTS[self._hint], errno.errorcode[self._hint]
        sentence = f"no answer after ICMP said {name} on a standing connection -> {failure.value}"
        return StepError(Fault(failure, sentence))

    def _broken(self, number: int | None, operation: Operation) -> StepError:
        facts = NetworkFacts(operation=operation, errno=number, asked=self._address)
        return StepError(fault_of(classify_network(facts), describe_network(facts)))
