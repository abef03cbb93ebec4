from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from probe.core.outcome import Refusal
from probe.io import stamps
from probe.io.tcp import Connected, TcpInfo, _came_late, connect, tcp_info
from proto.model import Failure, Operation, StampSource


@contextmanager
def listener(address: str = "127.0.0.1", *, backlog: int = 16) -> Iterator[socket.socket]:
    """A listening socket; the kernel completes handshakes whether or not anybody accepts."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((address, 0))
        sock.listen(backlog)
        yield sock


def port_of(sock: socket.socket) -> int:
    """Where it is bound."""
    return int(sock.getsockname()[1])


async def connected(address: str, port: int, **more: str) -> Connected:
    """The connection that must come; the caller closes it."""
    found = await connect(address, port, deadline=trio.current_time() + 2.0, **more)
    assert isinstance(found, Connected), found
    return found


async def refused(address: str, port: int, *, timeout_s: float = 2.0, **more: str) -> Refusal:
    """The refusal that must come."""
    found = await connect(address, port, deadline=trio.current_time() + timeout_s, **more)
    assert isinstance(found, Refusal), found
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_connection_carries_the_kernels_round_trip(address: str) -> None:
    """Round trip from TCP_INFO, no retransmits, no failure."""
    with listener(address) as sock:
        found = await connected(address, port_of(sock))
        with found.sock:
            assert (found.stamp_source, found.retransmits) == (StampSource.TCP_INFO, 0)
            assert 0 < found.rtt_us < 1_000_000
            assert found.connect_us == found.rtt_us
            assert [attempt.failure for attempt in found.attempts] == [None]


async def test_what_arrives_on_a_connection_is_stamped() -> None:
    """Whoever goes on with the socket gets kernel stamps with the bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as warm, listener() as sock:
        warm.setblocking(False)
        assert await stamps.warm_up(warm)  # the kernel stamps nothing until somebody has asked
        found = await connected("127.0.0.1", port_of(sock))
        peer, _ = sock.accept()
        with found.sock, peer:
            peer.sendall(b"hello")
            await trio.lowlevel.wait_readable(found.sock)
            data, ancillary, _, _ = found.sock.recvmsg(16, stamps.ANCILLARY_BYTES)
            assert data == b"hello"
            assert stamps.read_stamp(ancillary) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_closed_port_refuses(address: str) -> None:
    """A reset to the SYN, without any ICMP."""
    with listener(address) as sock:
        port = port_of(sock)
    found = await refused(address, port)
    assert (found.failure, found.operation, found.icmp) == (
        Failure.REFUSED,
        Operation.CONNECT,
        None,
    )
    assert found.attempt.classified_by == "errno ECONNREFUSED without ICMP -> refused"


async def test_a_full_accept_queue_is_silence_with_retransmits() -> None:
    """The kernel drops SYNs for a process that does not accept, and we count how many we sent."""
    with listener(backlog=0) as sock, socket.socket() as filler:
        filler.connect(("127.0.0.1", port_of(sock)))
        found = await refused("127.0.0.1", port_of(sock), timeout_s=1.4)
    assert (found.failure, found.retransmits) == (Failure.TIMEOUT, 1)


async def test_what_was_begun_too_late_is_no_silence_of_the_peers() -> None:
    """The time was over before the SYN could leave: this machine stood still."""
    with listener(backlog=0) as sock, socket.socket() as filler:
        filler.connect(("127.0.0.1", port_of(sock)))
        found = await refused("127.0.0.1", port_of(sock), timeout_s=-1.0)
    assert found.failure is Failure.LOCAL_OVERLOAD


@pytest.mark.parametrize(
    ("rtt_us", "retransmits", "allowed_us", "late"),
    [
        (900, 0, 1000, False),
        (1100, 0, 1000, True),
        (1100, 1, 1000, False),
        (1100, 0, -1, False),
        (None, 0, 1000, False),
    ],
)
def test_a_round_trip_longer_than_allowed_is_late(
    rtt_us: int | None, retransmits: int, allowed_us: int, late: bool
) -> None:
    """The kernel's round trip decides; where it cannot, the doubt is the peer's."""
    info = TcpInfo(connected=True, rtt_us=rtt_us, retransmits=retransmits, heard_ago_us=0)
    assert _came_late(info, allowed_us) == late


async def test_a_connection_made_in_time_counts_though_we_look_late() -> None:
    """After the deadline the kernel is asked once more: it had completed the handshake."""
    with listener() as sock:
        late = trio.current_time() - 1.0
        found = await connect("127.0.0.1", port_of(sock), deadline=late)
        assert isinstance(found, Connected)
        found.sock.close()


async def test_a_peer_that_hangs_up_at_once_was_connected() -> None:
    """CLOSE_WAIT is a handshake that succeeded."""
    with listener() as sock:
        found = await connected("127.0.0.1", port_of(sock))
        with found.sock:
            sock.accept()[0].close()
            await trio.lowlevel.wait_readable(found.sock)
            assert found.sock.recv(1) == b""
            assert tcp_info(found.sock).connected


def test_an_unconnected_socket_is_not_connected() -> None:
    """Neither a fresh socket nor one that the kernel tells nothing about."""
    with socket.socket() as fresh, socket.socket(type=socket.SOCK_DGRAM) as other:
        assert not tcp_info(fresh).connected
        assert tcp_info(other).retransmits is None
        assert not tcp_info(other).connected
        other.connect(("127.0.0.1", 9))
        assert tcp_info(other).connected


async def test_a_source_address_is_used() -> None:
    """The peer sees the address that the operator chose."""
    with listener() as sock:
        found = await connected("127.0.0.1", port_of(sock), source="127.0.0.5")
        with found.sock:
            peer, (address, _) = sock.accept()
            peer.close()
            assert address == "127.0.0.5"


async def test_a_source_address_of_another_machine_is_a_local_failure() -> None:
    """What we cannot bind says nothing about the target."""
    found = await refused("127.0.0.1", 9, source="192.0.2.1")
    assert found.failure is Failure.LOCAL_NO_PORT
    assert "EADDRNOTAVAIL" in found.attempt.detail


async def test_running_out_of_descriptors_is_a_local_failure() -> None:
    """EMFILE is this machine's trouble."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        found = await refused("127.0.0.1", 9)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.failure is Failure.LOCAL_NO_BUFFER


async def test_a_cancelled_connect_leaves_no_socket() -> None:
    """The caller's cancellation closes what was opened; an open socket would warn, and fail here."""
    with listener(backlog=0) as sock, socket.socket() as filler:
        filler.connect(("127.0.0.1", port_of(sock)))
        with trio.move_on_after(0.05) as scope:
            await connect("127.0.0.1", port_of(sock), deadline=trio.current_time() + 60)
        assert scope.cancelled_caught
