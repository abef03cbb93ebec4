"""Echo requests of all checks over one socket per family.

One socket, many targets: that costs a receiver task, and brings three traps that each of the rules
below answers.

* An ICMP error about target A poisons the next call on the socket, which may be a send to B. A send
  that fails is tried once more after the error queue was emptied; only the second failure is B's.
* A loop that stalls finds replies late. A reply counts by its kernel stamp, and before a slot is
  declared over the socket is emptied once more.
* Replies that overflow the receive buffer look like loss. The kernel counts them on the socket, and
  a slot during which that count grew is `local_overload`, not loss.

A slot that misses replies stays a little longer than its deadline: what comes then is lost all the
same, but counted as late, in the row it belongs to. A queue on the way differs from a dead target.

Source: icmp(7), Linux net/ipv4/ping.c; RFC 2681 (round trip), RFC 5560 (duplicates).
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import select
import socket
import time
from collections.abc import Callable
from typing import Final

import trio

from probe.core.icmpwire import (
    SEQUENCES,
    TOKEN_BYTES,
    EchoAnswer,
    EchoPacket,
    echo_request,
    read_echo,
)
from probe.io import errqueue, stamps
from probe.io.flight import SILENCE, Echoes, Flight, Request, not_sent, returned
from probe.io.icmpsocket import open_echo_socket
from probe.io.pacer import Pacer
from probe.io.reactor import Reactor

# One look at the socket handles no more than this, so that other checks get their turn.
_BATCH: Final = 256
# Batches that a full receive buffer of 4 MiB comes to, and then some.
_BATCHES_HELD: Final = 32
# Our echo is 64 bytes, an IPv4 header at most 60.
_REPLY_BYTES: Final = 128
_SENT_NO_MASK: Final = 0xFFFFFFFF
# The count of dropped replies is read once for slots that begin within so long: errs on the safe side.
_MOMENT_S: Final = 0.001
LATE_WAIT_S: Final = 1.0
"""How long after its deadline a slot looks for replies: a queue that holds more is as good as cut."""


class Pinger:
    """The shared socket of one family.

    For replies to be seen and more than one request to be sent, `run` must be running, or a reactor that
    it joined.

    Raises:
        IcmpUnavailable: this process may open no ICMP socket.
    """

    def __init__(self, family: int, *, source: str | None = None, tx_stamps: bool = False) -> None:
        self.family = family
        self._echo_socket = open_echo_socket(family, source=source, tx_stamps=tx_stamps)
        self._sock = self._echo_socket.sock
        self._ident = self._echo_socket.ident
        self._stamped = self._echo_socket.sends_stamped
        self._seq = secrets.randbelow(SEQUENCES)
        self._waiting: dict[int, Request] = {}
        self._unstamped: dict[int, Request] = {}  # sent, by the kernel's number
        self._sent_no = 0  # of the next packet, as the kernel counts
        self._pacer = Pacer()  # its own, unless it joins a reactor
        self._settled: list[Flight] = []  # slots to end as soon as the batch at hand is done
        self._drops, self._drops_at = 0, -math.inf
        self.retried_sends = 0  # most were poisoned by another target's ICMP error

    @property
    def is_raw(self) -> bool:
        """Whether the socket is a raw one, for want of the right to a datagram one."""
        return self._ident is not None

    @property
    def sends_stamped(self) -> bool:
        """Whether the kernel stamps what is sent too."""
        return self._stamped

    def close(self) -> None:
        """Give the socket back; requests under way end by their deadlines."""
        self._echo_socket.close()

    def receive_drops(self) -> int:
        """Packets that the kernel dropped on this socket for want of buffer, since it was opened."""
        return self._echo_socket.receive_drops()

    def join(self, reactor: Reactor) -> None:
        """Receive and send with everything else that the reactor drives."""
        self._pacer = reactor.pacer
        reactor.watch(self._sock, self._see)

    def _see(self, events: int) -> None:
        """What the kernel says of the socket. Without an error nothing lies in the error queue."""
        if events & select.EPOLLERR:
            self._drain_errors()
        self._drain_replies()
        self._end_settled()

    async def run(self) -> None:
        """Receive and send for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pacer.run)
            await self._receive()

    async def _receive(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            self.drain()

    async def echo(
        self, destination: str, *, count: int, deadline: float, spacing_s: float
    ) -> Echoes:
        """Send `count` requests, `spacing_s` apart, and collect what comes before `deadline`.

        Returns up to LATE_WAIT_S after the deadline when replies are missing.
        """
        over = trio.Event()
        found: list[Echoes] = []

        def note(echoes: Echoes) -> None:
            found.append(echoes)
            over.set()

        flight = self.begin(
            destination, count=count, deadline=deadline, spacing_s=spacing_s, done=note
        )
        try:
            await over.wait()
        finally:
            self._forget(flight)
        return found[0]

    def begin(
        self,
        destination: str,
        *,
        count: int,
        deadline: float,
        spacing_s: float,
        done: Callable[[Echoes], None],
    ) -> Flight:
        """What `echo` does, for who waits in no task of its own: `done` is told, once."""
        now = trio.current_time()
        flight = Flight(
            destination,
            os.urandom(TOKEN_BYTES),
            deadline,
            # After a pause of the loop too little may be left to be fair to the target.
            leave_by=(now + deadline) / 2,
            spacing_s=spacing_s,
            unsent=count,
            drops=self._drops_before(now),
            done=done,
        )
        flight.expiry = self._pacer.at(deadline, lambda: self._expire(flight))
        self._send_next(flight)
        if now >= deadline:
            self._expire(flight)
        return flight

    # --- The end of a slot ------------------------------------------------------------------------

    def _answer(self, request: Request, answer: EchoAnswer) -> None:
        """Note what became of a request; its slot ends when nothing is left to wait for.

        Not at once: a second reply may lie right behind the first.
        """
        request.answer = answer
        request.flight.unanswered -= 1
        if request.flight.settled:
            self._settled.append(request.flight)

    def _end_settled(self) -> None:
        while self._settled:
            self._end(self._settled.pop())

    def _expire(self, flight: Flight) -> None:
        """The deadline: what did not leave by now does not leave, and what is late is looked for."""
        flight.unsent = 0
        if flight.unanswered:
            self._drain_all()
            later = flight.deadline + LATE_WAIT_S
            if flight.expiry is not None:
                flight.expiry = self._pacer.at(later, lambda: self._end(flight))
        else:
            self._end(flight)

    def _end(self, flight: Flight) -> None:
        if flight.expiry is None:
            return
        answers = tuple([request.answer or SILENCE for request in flight.requests])
        self._forget(flight)
        flight.done(
            Echoes(
                answers=answers,
                duplicates=flight.duplicates,
                late=flight.late,
                dropped=flight.replies < len(answers) and self.receive_drops() > flight.drops,
            )
        )

    def _forget(self, flight: Flight) -> None:
        """Take a slot's requests out of the waiting ones; no more are sent."""
        if flight.expiry is not None:
            flight.expiry.call_off()
            flight.expiry = None
        flight.unsent = 0
        for request in flight.requests:
            if request.seq is not None and self._waiting.get(request.seq) is request:
                del self._waiting[request.seq]
            if request.sent_no is not None and self._unstamped.get(request.sent_no) is request:
                del self._unstamped[request.sent_no]
        # They name each other: left so, they would wait for the collector of garbage.
        flight.requests.clear()

    def _drops_before(self, now: float) -> int:
        """What the kernel had dropped at this instant, or a moment before."""
        if now - self._drops_at > _MOMENT_S:
            self._drops, self._drops_at = self.receive_drops(), now
        return self._drops

    # --- Sending ----------------------------------------------------------------------------------

    def _send_next(self, flight: Flight) -> None:
        """Send a slot's next request, and have the one after it sent in its time."""
        if flight.unsent:
            now = trio.current_time()
            flight.unsent -= 1
            self._send(flight, now)
            if flight.unsent:
                self._pacer.at(now + flight.spacing_s, lambda: self._send_next(flight))
            self._end_settled()

    def _send(self, flight: Flight, now: float) -> None:
        """Put one request on the wire, or its local failure into the flight."""
        destination = flight.destination
        seq = self._free_seq()
        allowed_us = round((flight.deadline - now) * 1e6)
        request = Request(destination, seq, allowed_us, flight)
        flight.requests.append(request)
        flight.unanswered += 1
        if now >= flight.leave_by:
            self._answer(request, not_sent(destination, None))
            return
        if seq is None:
            self._answer(request, not_sent(destination, errno.EBUSY))
            return
        packet = echo_request(self.family, seq=seq, token=flight.token, ident=self._ident)
        # Known before the send: over loopback the reply is here before the call returns.
        self._waiting[seq] = request
        try:
            self._send_clean(packet, request)
        except OSError as error:
            del self._waiting[seq]
            self._answer(request, not_sent(destination, error.errno))

    def _send_clean(self, packet: bytes, request: Request) -> None:
        """Send; an error that another target left on the socket is cleared and the send repeated.

        Raises:
            OSError: this machine cannot send to this destination.
        """
        try:
            self._send_now(packet, request)
        except BlockingIOError:
            raise
        except OSError:
            self.retried_sends += 1
            self.drain()
            self._send_now(packet, request)

    def _send_now(self, packet: bytes, request: Request) -> None:
        if self._stamped:
            request.sent_no = self._sent_no
            self._unstamped[self._sent_no] = request
            self._sent_no = (self._sent_no + 1) & _SENT_NO_MASK
        request.sent_monotonic_ns = time.perf_counter_ns()
        request.sent_ns = stamps.now_ns()
        try:
            self._sock.sendto(packet, socket.MSG_DONTWAIT, (request.destination, 0))
        except OSError:
            if self._stamped:
                self._count_anew()
            raise

    def _count_anew(self) -> None:
        """Whether the kernel counted a packet that it refused depends on its version."""
        stamps.switch_on_both(self._sock)
        self._sent_no = 0
        self._unstamped.clear()

    def _free_seq(self) -> int | None:
        """The next sequence number that no request under way holds; None: all are taken."""
        if len(self._waiting) >= SEQUENCES:
            return None
        while True:
            self._seq = (self._seq + 1) % SEQUENCES
            if self._seq not in self._waiting:
                return self._seq

    # --- Receiving --------------------------------------------------------------------------------

    def _drain_all(self) -> None:
        """Take in what is here before silence is declared; bounded, for more may always come."""
        for _ in range(_BATCHES_HELD):
            if not self.drain():
                return

    def drain(self) -> bool:
        """Take in a batch of what the socket holds; True when there may be more.

        Errors come first: they clear what poisons the next call, and the stamp of a request is
        queued before its reply can be.
        """
        self._drain_errors()
        more = self._drain_replies()
        self._end_settled()
        return more

    def _drain_errors(self) -> None:
        for _ in range(_BATCH):
            entry = errqueue.take(self._sock)
            if entry is None:
                break
            if entry.sent_no is None:
                self._on_error(entry)
            else:
                self._on_sent(entry.sent_no, entry.stamp_ns)

    def _drain_replies(self) -> bool:
        receive, is_raw, family = self._sock.recvmsg, self.is_raw, self.family
        for _ in range(_BATCH):
            try:
                data, ancillary, _, address = receive(
                    _REPLY_BYTES, stamps.ANCILLARY_BYTES, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return False
            except OSError:
                continue  # left by an ICMP error; its story is in the error queue
            packet = read_echo(self._echo_socket.icmp_of(data) if is_raw else data, family)
            if packet is not None and packet.is_reply:
                self._on_reply(packet, address[0], stamps.read_stamp(ancillary))
        return True

    def _on_sent(self, sent_no: int, stamp_ns: int | None) -> None:
        request = self._unstamped.pop(sent_no, None)
        # A stamp from before the send is of an older packet with the same number.
        if request is not None and stamp_ns is not None and stamp_ns >= request.sent_ns:
            request.sent_stamp_ns = stamp_ns

    def _on_reply(self, packet: EchoPacket, responder: str, stamp_ns: int | None) -> None:
        request = self._waiting.get(packet.seq)
        if request is None or request.destination != responder:
            return
        flight = request.flight
        if flight.token != packet.token:
            return
        if request.answer is not None:
            flight.duplicates += request.answer.failure is None
            return
        rtt_us, clock = stamps.round_trip(
            sent_ns=request.sent_ns,
            stamp_ns=stamp_ns,
            elapsed_us=(time.perf_counter_ns() - request.sent_monotonic_ns) // 1000,
            sent_stamp_ns=request.sent_stamp_ns,
        )
        if rtt_us > request.allowed_us:
            flight.late += 1
            self._answer(request, SILENCE)
        else:
            flight.replies += 1
            self._answer(request, EchoAnswer(rtt_us, clock, None, "echo reply"))

    def _on_error(self, entry: errqueue.QueuedError) -> None:
        packet = read_echo(entry.quote, self.family)
        if packet is None or self._ident not in {None, packet.ident}:
            return  # on a raw socket: somebody else's
        request = self._waiting.get(packet.seq)
        if request is None or request.destination != entry.destination or request.answer:
            return
        self._answer(request, returned(request.destination, entry.errno, entry.icmp))
