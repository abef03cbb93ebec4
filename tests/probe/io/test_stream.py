"""A stamped stream: whose lateness is whose, and what an ICMP error means to a standing connection."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from probe.io import stamps
from probe.io.stream import Instant, StampedStream, StepError, elapsed_between
from proto.model import Failure, Operation, StampSource


@dataclass(frozen=True, slots=True)
class Pair:
    """Both ends of one TCP connection over loopback; ours has receive stamps."""

    ours: socket.socket
    theirs: socket.socket


@pytest.fixture(name="pair")
def a_pair() -> Iterator[Pair]:
    """A connected pair, and the kernel's stamps switched on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    stamps.switch_on(ours)
    ours.setblocking(False)
    with ours, theirs:
        yield Pair(ours, theirs)


@pytest.fixture(name="clock")
def a_clock() -> trio.testing.MockClock:
    """A clock that moves only when told to."""
    return trio.testing.MockClock()


def open_stream(sock: socket.socket, *, left_s: float) -> StampedStream:
    """A stream whose deadline is this far ahead."""
    return StampedStream(sock, address="127.0.0.1", deadline=trio.current_time() + left_s)


async def failure_of(stream: StampedStream) -> Failure:
    """The word of the read that fails now."""
    with pytest.raises(StepError) as caught:
        await stream.receive(operation=Operation.REPLY)
    return caught.value.fault.failure


class AgedSocket(socket.socket):
    """A connected socket whose bytes came 0.2 s before anybody looked."""

    def recvmsg(self, *arguments: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        """What there is, with its stamp moved back."""
        data, _, flags, sender = super().recvmsg(*arguments)
        seconds, nanoseconds = divmod(stamps.now_ns() - 200_000_000, 1_000_000_000)
        stamp = struct.pack("@ll", seconds, nanoseconds)
        return data, [(socket.SOL_SOCKET, stamps.SO_TIMESTAMPNS, stamp)], flags, sender


async def test_bytes_in_time_count_when_we_look_late(
    pair: Pair, clock: trio.testing.MockClock
) -> None:
    """Bytes that came before the deadline are good, even if we look after it."""
    stream = open_stream(pair.ours, left_s=10)
    pair.theirs.send(b"in time")
    await trio.lowlevel.wait_readable(pair.ours)
    clock.jump(11)
    assert await stream.receive(operation=Operation.REPLY) == b"in time"
    assert await failure_of(stream) is Failure.TIMEOUT


async def test_bytes_that_waited_for_us_are_our_overload(
    pair: Pair, clock: trio.testing.MockClock
) -> None:
    """Bytes that lay here for long before we looked: what they asked of us is our overload."""
    with AgedSocket(fileno=os.dup(pair.ours.fileno())) as sock:
        sock.setblocking(False)
        stream = open_stream(sock, left_s=10)
        pair.theirs.send(b"in time")
        await trio.lowlevel.wait_readable(sock)
        clock.jump(11)
        assert await stream.receive(operation=Operation.REPLY) == b"in time"
        assert await failure_of(stream) is Failure.LOCAL_OVERLOAD


async def test_bytes_after_the_deadline_are_a_timeout(
    pair: Pair, clock: trio.testing.MockClock
) -> None:
    """Bytes that came after the deadline came too late, even if they lie here now."""
    stream = open_stream(pair.ours, left_s=0)
    clock.jump(1)
    pair.theirs.send(b"too late")
    assert await failure_of(stream) is Failure.TIMEOUT


async def test_silence_is_a_timeout(pair: Pair, clock: trio.testing.MockClock) -> None:
    """When nothing lies here at the deadline, the peer was silent."""
    clock.autojump_threshold = 0
    assert await failure_of(open_stream(pair.ours, left_s=10)) is Failure.TIMEOUT
    assert trio.current_time() == 10


async def test_peer_that_takes_nothing(pair: Pair, clock: trio.testing.MockClock) -> None:
    """A peer whose window stays closed is a timeout of the sending."""
    clock.autojump_threshold = 0
    with pytest.raises(StepError) as caught:
        await open_stream(pair.ours, left_s=10).send_all(
            b"x" * (32 << 20), operation=Operation.REQUEST
        )
    assert caught.value.fault.failure is Failure.TIMEOUT


async def test_sending_into_a_reset(pair: Pair) -> None:
    """A connection that was reset takes nothing."""
    pair.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.theirs.close()
    with pytest.raises(StepError) as caught:
        await open_stream(pair.ours, left_s=10).send_all(b"x", operation=Operation.REQUEST)
    assert caught.value.fault.failure is Failure.RESET


class HintedSocket(socket.socket):
    """A connected socket to which one ICMP error came, as the kernel reports it."""

    hint = 0

    def recvmsg(self, *arguments: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        """Report the error once, then what there is."""
        if self.hint:
            self.hint, number = 0, self.hint
            raise OSError(number, os.strerror(number))
        return super().recvmsg(*arguments)


def hinted(pair: Pair, number: int) -> HintedSocket:
    """Our end of the pair after an ICMP error."""
    sock = HintedSocket(fileno=os.dup(pair.ours.fileno()))
    sock.setblocking(False)
    sock.hint = number
    return sock


async def test_connection_survives_an_icmp_error(pair: Pair) -> None:
    """TCP goes on after a passing ICMP error, and so do we."""
    with hinted(pair, errno.EHOSTUNREACH) as sock:
        stream = open_stream(sock, left_s=10)
        pair.theirs.send(b"still here")
        assert await stream.receive(operation=Operation.REPLY) == b"still here"


@pytest.mark.parametrize(
    ("number", "failure"),
    [
        (errno.EHOSTUNREACH, Failure.HOST_UNREACHABLE),
        (errno.ENETUNREACH, Failure.NET_UNREACHABLE),
        (errno.EACCES, Failure.PROHIBITED),
        (errno.ECONNREFUSED, Failure.REJECTED),
        (errno.ENOPROTOOPT, Failure.REJECTED),
    ],
)
async def test_icmp_error_explains_the_silence(
    pair: Pair, clock: trio.testing.MockClock, number: int, failure: Failure
) -> None:
    """If nothing follows, the ICMP error says why."""
    clock.autojump_threshold = 0
    with hinted(pair, number) as sock:
        assert await failure_of(open_stream(sock, left_s=10)) is failure


async def test_goodbye_to_a_closed_socket(pair: Pair) -> None:
    """Nobody waits for the last word, and it may fail."""
    stream = open_stream(pair.ours, left_s=10)
    stream.send_last(b"bye")
    assert pair.theirs.recv(9) == b"bye"
    pair.ours.close()
    stream.send_last(b"bye")


@pytest.mark.parametrize(
    ("end", "us", "source"),
    [
        (Instant(1_000_000, 5.002, is_stamped=True), 1000, StampSource.KERNEL),
        (Instant(1_000_000, 5.002), 2000, StampSource.USER),
        (Instant(9_000_000, 5.002, is_stamped=True), 2000, StampSource.USER),
        (Instant(-1_000_000, 5.002, is_stamped=True), 2000, StampSource.USER),
    ],
)
def test_times_are_believed_within_bounds(end: Instant, us: int, source: StampSource) -> None:
    """A stamp before the send or after the read is a clock step: the monotonic clock is used."""
    elapsed = elapsed_between(Instant(0, 5.0), end)
    assert (elapsed.us, elapsed.source) == (us, source)
