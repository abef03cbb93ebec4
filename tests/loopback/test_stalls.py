"""A loop that stands still reads every answer too late: none that came in time may be called lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
import trio.testing

from probe.io.box import Toolbox
from probe.io.icmp import Pinger
from probe.io.icmpsocket import IcmpUnavailable
from probe.toolbox import run_check
from proto.model import Check, Failure, Kind, Result, StampSource
from tests.fakes.boxes import loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import reply
from tests.fakes.scripted_server import response

CHECKS = 100
TIMEOUT_S, STALL_S = 0.5, 0.8
NAME = "www.example.test"


class Far:
    """A peer in a thread: it waits until everybody asked, and answers once the loop stands still."""

    def __init__(self) -> None:
        self.port = 0
        self.all_asked = threading.Event()
        self.stalled = threading.Event()

    def answer(self) -> None:
        """The kernel answers for us."""
        self.all_asked.set()


class Pages(Far):
    """An HTTP server."""

    def __init__(self) -> None:
        super().__init__()
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=CHECKS)
        self.port = self._sock.getsockname()[1]

    def answer(self) -> None:
        """Accept and read all, then answer all."""
        with self._sock:
            peers = [self._sock.accept()[0] for _ in range(CHECKS)]
            for peer in peers:
                assert peer.recv(4096)
            self.all_asked.set()
            self.stalled.wait()
            for peer in peers:
                peer.sendall(response("200 OK"))
                peer.close()


class Names(Far):
    """A name server."""

    def __init__(self) -> None:
        super().__init__()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]

    def answer(self) -> None:
        """Read until all have asked, then answer each asker's last question."""
        asked: dict[Any, bytes] = {}
        with self._sock:
            while len(asked) < CHECKS:
                query, asker = self._sock.recvfrom(4096)
                asked[asker] = query
            self.all_asked.set()
            self.stalled.wait()
            for asker, query in asked.items():
                self._sock.sendto(reply(query, f"{NAME} 60 A 127.0.0.1"), asker)


class Listener(Far):
    """A port on which nobody accepts: the kernel completes the handshakes."""

    def __init__(self) -> None:
        super().__init__()
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=CHECKS)
        self.port = self._sock.getsockname()[1]

    def answer(self) -> None:
        """Stay open until the loop has stood still."""
        with self._sock:
            self.all_asked.set()
            self.stalled.wait()
            threading.Event().wait(STALL_S)


@contextmanager
def answering(far: Far) -> Iterator[Far]:
    """The peer, at work until it has answered."""
    thread = threading.Thread(target=far.answer, daemon=True)
    thread.start()
    yield far
    far.stalled.set()
    thread.join(5)


async def rows_over_a_stall(box: Toolbox, asked: Check, far: Far) -> list[Result]:
    """The rows of many runs of a check, all of whose answers come while the loop stands still."""
    rows: list[Result] = []

    async def note() -> None:
        rows.append((await run_check(asked, box)).result)

    async with trio.open_nursery() as nursery:
        for _ in range(CHECKS):
            nursery.start_soon(note)
        await trio.lowlevel.checkpoint()
        await trio.to_thread.run_sync(far.all_asked.wait)
        far.stalled.set()
        threading.Event().wait(STALL_S)
    return rows


@pytest.mark.parametrize(
    ("kind", "make", "clock"),
    [
        (Kind.ICMP, Far, StampSource.KERNEL),
        (Kind.TCP, Listener, StampSource.TCP_INFO),
        (Kind.HTTP, Pages, StampSource.TCP_INFO),
        (Kind.DNS, Names, StampSource.KERNEL),
    ],
)
async def test_a_stall_of_the_loop_loses_no_answer(
    kind: Kind, make: Callable[[], Far], clock: StampSource
) -> None:
    """Timeout 0.5 s, stall 0.8 s: all succeed, with times that the kernel took."""
    async with loopback_box() as box:
        if kind is Kind.ICMP and 4 not in box.pingers:
            pytest.skip(box.without_icmp[4])
        with answering(make()) as far:
            where = {
                Kind.ICMP: {"packets": 1},
                Kind.DNS: {"host": NAME, "server": f"127.0.0.1:{far.port}"},
            }.get(kind, {"port": far.port})
            asked = check(kind, timeout_s=TIMEOUT_S, **where)
            rows = await rows_over_a_stall(box, asked, far)
    assert len(rows) == CHECKS
    assert {(row.failure, row.lost, row.stamp_source) for row in rows} == {(None, 0, clock)}
    first = [row.first_byte_us if kind is Kind.HTTP else row.rtt_us_max for row in rows]
    assert max(us for us in first if us is not None) < TIMEOUT_S * 1e6


@pytest.fixture
def pinger() -> Iterator[Pinger]:
    """An echo socket whose replies are read only when a test says so."""
    try:
        made = Pinger(4)
    except IcmpUnavailable as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.mark.parametrize("reply_first", [True, False])
async def test_a_reply_and_a_cancellation_in_one_turn_wake_the_slot_once(
    pinger: Pinger, reply_first: bool
) -> None:
    """Waking a task twice would end the whole loop; the slot is given up and nothing is left."""
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            deadline = trio.current_time() + 5.0
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as slot:
                    slot.start_soon(
                        lambda: pinger.echo("127.0.0.1", count=1, deadline=deadline, spacing_s=0.0)  # noqa: B023
                    )
                    await trio.testing.wait_all_tasks_blocked()
                    await trio.lowlevel.wait_readable(pinger._sock)
                    steps = (pinger.drain, scope.cancel)
                    for step in steps if reply_first else reversed(steps):
                        step()
        nursery.start_soon(pinger.run)
        deadline = trio.current_time() + 5.0
        echoes = await pinger.echo("127.0.0.1", count=1, deadline=deadline, spacing_s=0.0)
        nursery.cancel_scope.cancel()
    assert [answer.failure for answer in echoes.answers] == [None]
    assert (pinger._waiting, echoes.late, echoes.duplicates) == ({}, 0, 0)


async def test_a_slot_without_time_left_sends_nothing(pinger: Pinger) -> None:
    """A pause between the slot's start and its first request is this machine's fault, not silence."""
    before = pinger.receive_drops()
    past = trio.current_time() - 0.1
    echoes = await pinger.echo("127.0.0.1", count=3, deadline=past, spacing_s=0.0)
    assert {(answer.failure, answer.sent) for answer in echoes.answers} == {
        (Failure.LOCAL_OVERLOAD, False)
    }
    with pytest.raises(BlockingIOError):
        pinger._sock.recv(1)
    assert pinger.receive_drops() == before
