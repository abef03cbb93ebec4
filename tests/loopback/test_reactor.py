"""Coroutines that one task drives: what each of them waits for, and how it ends."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from probe.io.reactor import DRIVEN, Reactor

_who: ContextVar[str] = ContextVar("_who", default="nobody")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ends that do not block."""

    ours: socket.socket
    theirs: socket.socket


@pytest.fixture(name="pair")
def a_pair() -> Iterator[Pair]:
    """Ends of one connection of the machine with itself."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield Pair(ours, theirs)


@asynccontextmanager
async def reacting() -> AsyncIterator[Reactor]:
    """A reactor that runs."""
    reactor = Reactor()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            yield reactor
            nursery.cancel_scope.cancel()
    finally:
        reactor.close()


def untold(_value: Callable[[], Any]) -> None:
    """Nobody is told of a run that was called off."""
    raise AssertionError("a run that was called off has told")


async def read(sock: socket.socket, until: float = math.inf) -> bytes | None:
    """What comes; None: nothing in time."""
    return sock.recv(16) if await DRIVEN.readable(sock, until) else None


async def test_a_run_goes_on_when_there_is_something_to_read(pair: Pair) -> None:
    """Bytes that lie there already, and bytes that come."""
    async with reacting() as reactor, trio.open_nursery() as nursery:
        pair.theirs.send(b"one")
        assert await reactor.do(read(pair.ours)) == b"one"
        nursery.start_soon(send_when_all_wait, pair.theirs)
        assert await reactor.do(read(pair.ours)) == b"two"


async def send_when_all_wait(sock: socket.socket) -> None:
    """Send once nothing else can go on."""
    await trio.testing.wait_all_tasks_blocked()
    sock.send(b"two")


async def test_a_deadline_ends_a_wait(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    """At its instant, and at once where it is over; a later one in the same run counts anew."""

    async def wait_twice() -> list[tuple[bytes | None, float]]:
        return [
            (await read(pair.ours, until), autojump_clock.current_time())
            for until in (5.0, 7.0, 6.0)
        ]

    async with reacting() as reactor:
        assert await reactor.do(wait_twice()) == [(None, 5.0), (None, 7.0), (None, 7.0)]


async def test_bytes_come_before_time_is_called(
    autojump_clock: trio.testing.MockClock, pair: Pair
) -> None:
    """After a pause of the loop what the kernel holds is handed out first."""
    autojump_clock.autojump_threshold = math.inf
    told: list[bytes | None] = []
    async with reacting() as reactor:
        reactor.start(read(pair.ours, 5.0), lambda value: told.append(value()))
        await trio.testing.wait_all_tasks_blocked()
        pair.theirs.send(b"in time")
        autojump_clock.jump(6.0)
        await trio.testing.wait_all_tasks_blocked()
    assert told == [b"in time"]


async def test_a_run_may_write_and_change_sockets(pair: Pair) -> None:
    """One socket for both directions, then another, then the first again."""
    one, other = socket.socketpair()

    async def talk() -> list[bytes | None]:
        assert await DRIVEN.writable(pair.ours, math.inf)
        pair.ours.send(b"ask")
        found = [await read(pair.ours)]
        assert await DRIVEN.writable(one, math.inf)
        return [*found, await read(one), await read(pair.ours)]

    with one, other:
        pair.theirs.send(b"a")
        other.send(b"b")
        async with reacting() as reactor, trio.open_nursery() as nursery:
            nursery.start_soon(answer, pair.theirs)
            assert await reactor.do(talk()) == [b"a", b"b", b"c"]


async def answer(sock: socket.socket) -> None:
    """Answer once the first words were read."""
    await trio.testing.wait_all_tasks_blocked()
    assert sock.recv(16) == b"ask"
    sock.send(b"c")


async def test_a_run_that_lets_others_go_on_goes_on_itself() -> None:
    """Two runs in turn, and neither waits for a socket."""
    said: list[str] = []

    async def say(word: str) -> None:
        for _ in range(3):
            said.append(word)
            await DRIVEN.turn()

    async with reacting() as reactor:
        await trio.testing.wait_all_tasks_blocked()
        reactor.start(say("a"), lambda value: value())
        await reactor.do(say("b"))
    assert said == ["a", "b"] * 3


async def test_what_a_run_raises_is_raised_where_its_value_is_asked_for() -> None:
    """A defect ends one run, not the reactor."""

    async def fail() -> None:
        await DRIVEN.turn()
        raise ZeroDivisionError

    async with reacting() as reactor:
        with pytest.raises(ZeroDivisionError):
            await reactor.do(fail())
        values: list[Callable[[], None]] = []
        reactor.start(fail(), values.append)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ZeroDivisionError):
            values[0]()


async def test_a_run_in_a_task_sees_its_context_and_dies_with_it(pair: Pair) -> None:
    """Also after a wait; and a cancelled task closes what it began."""
    ends: list[str] = []

    async def tell() -> str:
        try:
            await read(pair.ours)
            return _who.get()
        finally:
            ends.append(_who.get())

    async with reacting() as reactor:
        _who.set("somebody")
        pair.theirs.send(b"x")
        assert await reactor.do(tell()) == "somebody"
        with trio.CancelScope() as scope, trio.testing.assert_checkpoints():
            scope.cancel()
            await reactor.do(tell())
        assert scope.cancelled_caught
        pair.theirs.send(b"nobody reads")
        await trio.testing.wait_all_tasks_blocked()
    assert len(ends) == 2


async def test_what_goes_on_too_long_is_cut_off(
    autojump_clock: trio.testing.MockClock, pair: Pair
) -> None:
    """It is closed where it wants to wait again, and something else is what it came to."""
    ends: list[str] = []

    async def go_on() -> str:
        try:
            for second in range(1, 10):
                await read(pair.ours, float(second))
        finally:
            ends.append("closed")
        return "whole"

    told: list[str] = []
    over = trio.Event()

    def end(value: Callable[[], str]) -> None:
        told.append(value())
        over.set()

    async with reacting() as reactor:
        reactor.start(go_on(), end, cut_off_at=4.5, instead=lambda: "cut off")
        autojump_clock.jump(2.5)  # with the first two waits over, the third ends at its instant
        await over.wait()
    assert (told, ends, autojump_clock.current_time()) == (["cut off"], ["closed"], 5.0)


@pytest.mark.parametrize("waits_for", ["a socket", "its turn"])
async def test_who_is_under_way_at_the_end_is_closed_untold(pair: Pair, waits_for: str) -> None:
    """A reactor that is closed leaves no coroutine behind, which would warn, and fail here."""
    ends: list[str] = []

    async def go_on() -> None:
        try:
            await (DRIVEN.turn() if waits_for == "its turn" else read(pair.ours))
        finally:
            ends.append("closed")

    reactor = Reactor()
    run = reactor.start(go_on(), untold)
    reactor.close()
    assert ends == ["closed"]
    reactor.call_off(run)


async def test_a_run_that_was_called_off_in_its_turn_stays_off() -> None:
    """It is not gone on with when its turn comes."""

    async def go_on() -> None:
        await DRIVEN.turn()
        raise AssertionError("gone on")

    async with reacting() as reactor:
        run = reactor.start(go_on(), untold)
        reactor.call_off(run)
        await trio.testing.wait_all_tasks_blocked()


async def test_a_socket_that_a_run_does_not_wait_for_wakes_nobody(pair: Pair) -> None:
    """Not the run that waits for another one, and not the reactor for ever once the run is over."""
    one, other = socket.socketpair()

    async def talk() -> list[bytes | None]:
        return [await read(pair.ours), await read(one)]

    with one, other:
        one.setblocking(False)
        async with reacting() as reactor, trio.open_nursery() as nursery:
            pair.theirs.send(b"a")
            nursery.start_soon(send_when_all_wait, pair.theirs)
            told: list[list[bytes | None]] = []
            reactor.start(talk(), lambda value: told.append(value()))
            await trio.testing.wait_all_tasks_blocked()
            assert told == []
            other.send(b"b")
            await trio.testing.wait_all_tasks_blocked()
            assert told == [[b"a", b"b"]]
            other.send(b"c")
            await trio.testing.wait_all_tasks_blocked()


async def test_a_socket_of_many_is_watched(pair: Pair) -> None:
    """Whoever shares one socket is told each time that there is something to read."""
    heard: list[bytes] = []
    async with reacting() as reactor:
        reactor.watch(pair.ours, lambda _events: heard.append(pair.ours.recv(16)))
        for word in (b"one", b"two"):
            pair.theirs.send(word)
            await trio.testing.wait_all_tasks_blocked()
    assert heard == [b"one", b"two"]


def a_coroutine() -> Coroutine[Any, bool | None, int]:
    """Ends at once."""

    async def one() -> int:
        return 1

    return one()


async def test_a_run_may_be_over_before_its_start_returns() -> None:
    """Its value is told all the same."""
    told: list[int] = []
    async with reacting() as reactor:
        reactor.start(a_coroutine(), lambda value: told.append(value()))
        assert told == [1]
        assert await reactor.do(a_coroutine()) == 1
