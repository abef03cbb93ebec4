from __future__ import annotations

import socket
import struct
import threading

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from probe.io import errqueue, stamps
from proto.model import StampSource


def udp() -> socket.socket:
    """A non-blocking UDP socket on loopback."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(("127.0.0.1", 0))
    return sock


async def test_after_the_warm_up_stamps_are_honest() -> None:
    """A packet read 50 ms late carries the moment of its arrival."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as keeper,
        udp() as sock,
    ):
        assert await stamps.warm_up(keeper)
        stamps.switch_on(sock)
        sent_ns = stamps.now_ns()
        sock.sendto(b"x", sock.getsockname())
        threading.Event().wait(0.05)
        _, ancillary, _, _ = sock.recvmsg(16, stamps.ANCILLARY_BYTES)
        stamp = stamps.read_stamp(ancillary)
    assert stamp is not None
    assert 0 <= stamp - sent_ns < 25_000_000


async def test_a_machine_without_loopback_has_no_honest_stamps() -> None:
    """Where the warm-up cannot be done the user clock is used, and named."""
    with udp() as bound:
        assert not await stamps.warm_up(bound)


def test_a_socket_that_knows_no_stamps_is_left_as_it_is() -> None:
    """Without an option of the kernel there is no error; a closed socket is a bug of ours."""
    sock = udp()
    stamps.switch_on(sock)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        stamps.switch_on(sock)


def test_other_ancillary_content_is_no_stamp() -> None:
    """Only the kernel's stamp, whole, counts."""
    cut = (socket.SOL_SOCKET, stamps.SO_TIMESTAMPNS, b"\0" * 4)
    other = (socket.IPPROTO_IP, socket.IP_TTL, b"\x40\0\0\0")
    whole = (socket.SOL_SOCKET, stamps.SO_TIMESTAMPNS, struct.pack("@ll", 3, 7))
    assert stamps.read_stamp([]) is None
    assert stamps.read_stamp([cut, other]) is None
    assert stamps.read_stamp([other, whole]) == 3_000_000_007
    by_card = (socket.SOL_SOCKET, stamps.SO_TIMESTAMPING, struct.pack("@6l", 0, 0, 0, 0, 5, 6))
    assert stamps.read_stamp([by_card]) is None


@given(
    sent_ns=st.integers(10**18, 2 * 10**18),
    delta_ns=st.none() | st.integers(-(10**12), 10**12),
    elapsed_us=st.integers(0, 10**7),
)
def test_a_stamp_counts_only_inside_our_own_two_readings(
    sent_ns: int, delta_ns: int | None, elapsed_us: int
) -> None:
    """A stepped clock can neither make a round trip negative nor longer than we waited."""
    stamp_ns = None if delta_ns is None else sent_ns + delta_ns
    rtt_us, clock = stamps.round_trip(sent_ns=sent_ns, stamp_ns=stamp_ns, elapsed_us=elapsed_us)
    assert 0 <= rtt_us <= elapsed_us + 50
    if clock is StampSource.USER:
        assert rtt_us == elapsed_us
    else:
        assert delta_ns is not None
        assert rtt_us == delta_ns // 1000


@given(
    sent_ns=st.integers(10**18, 2 * 10**18),
    delta_ns=st.integers(0, 10**9),
    sent_delta_ns=st.integers(-(10**9), 2 * 10**9),
)
def test_a_send_stamp_counts_only_between_send_and_arrival(
    sent_ns: int, delta_ns: int, sent_delta_ns: int
) -> None:
    """The stamp of an older packet with the same number, or a later one, falls back to our own."""
    rtt_us, clock = stamps.round_trip(
        sent_ns=sent_ns,
        stamp_ns=sent_ns + delta_ns,
        elapsed_us=10**7,
        sent_stamp_ns=sent_ns + sent_delta_ns,
    )
    if 0 <= sent_delta_ns <= delta_ns:
        assert (rtt_us, clock) == ((delta_ns - sent_delta_ns) // 1000, StampSource.KERNEL_BOTH)
    else:
        assert (rtt_us, clock) == (delta_ns // 1000, StampSource.KERNEL)


async def test_sends_are_numbered_from_nought_whenever_asked_for() -> None:
    """Each packet's own stamp comes back over the error queue, between our two readings."""
    with udp() as sock, udp() as peer:
        errqueue.switch_on(sock)
        for _ in range(2):
            stamps.switch_on_both(sock)
            for number in range(3):
                sent_ns = stamps.now_ns()
                sock.sendto(b"x", peer.getsockname())
                with trio.fail_after(2):
                    await trio.lowlevel.wait_readable(sock)
                entry = errqueue.take(sock)
                assert entry is not None
                assert (entry.sent_no, entry.icmp) == (number, None)
                assert entry.stamp_ns is not None
                assert sent_ns <= entry.stamp_ns <= stamps.now_ns()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_the_error_queue_says_who_refused_what(address: str) -> None:
    """A UDP datagram to a closed port comes back with its ICMP error, its content and a sender."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as gone:
        gone.bind((address, 0))
        port = gone.getsockname()[1]
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        errqueue.switch_on(sock)
        stamps.switch_on(sock)
        sock.sendto(b"anybody?", (address, port))
        with trio.fail_after(2):
            await trio.lowlevel.wait_readable(sock)
        entry = errqueue.take(sock)
        assert errqueue.take(sock) is None
    assert entry is not None
    assert entry.icmp is not None
    assert (entry.destination, entry.quote) == (address, b"anybody?")
    shape = (entry.icmp.family, entry.icmp.icmp_type, entry.icmp.icmp_code, entry.icmp.router)
    assert shape == ((6, 1, 4, "::1") if ":" in address else (4, 3, 3, "127.0.0.1"))


def extended(origin: int, sender: bytes) -> bytes:
    """A sock_extended_err as the kernel writes it, with a sender behind it."""
    return struct.pack("=IBBBBII", 113, origin, 3, 1, 0, 0, 0) + sender


def test_an_error_of_this_machine_has_no_icmp() -> None:
    """Origin "local": the kernel itself refused the packet."""
    assert errqueue.read_extended(extended(1, bytes(16))) == (113, None)


@pytest.mark.parametrize("sender", [b"", bytes(1), bytes(16), struct.pack("=HH", 2, 0)])
def test_a_sender_that_the_kernel_left_out_is_unknown(sender: bytes) -> None:
    """No address is not an address of zeros."""
    _, icmp = errqueue.read_extended(extended(2, sender))
    assert icmp is not None
    assert icmp.router is None
