"""Runs that wait for sockets only, driven from one task: no task, scope or nursery for each of them.

A task of trio's costs some 25 us, and each of its waits as much again: a scope with a deadline, a
registration that the kernel forgets after one event, an exception that unwinds it when time is over.
A check over TLS waits five times. So the coroutines of connections are sent on from here: their
sockets lie in an epoll of our own, which is itself one file for trio to wait on, and their deadlines in
one heap.

A coroutine that is driven here waits through `waits` and awaits nothing of trio's. Who stands in a task
calls `do`; who waits in none calls `start` and is told.

After a pause of the loop, what the kernel holds is handed out before time is called, as a run looks once
more before it gives up. See `probe.io.stream`.
"""

from __future__ import annotations

import math
import select
import socket
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, TypeAlias, TypeVar

import trio

from probe.io.pacer import REST_S, Appointment, Pacer
from probe.io.waits import Waits

T = TypeVar("T")
Ended: TypeAlias = Callable[[Callable[[], T]], None]
"""Told once, when a run is over, how to have its value; what it raised is raised there."""

_READ: Final = select.EPOLLIN
_WRITE: Final = select.EPOLLOUT
_BATCH: Final = 64
"""Events handed out before trio's other tasks get their turn."""

_Wish: TypeAlias = tuple[socket.socket, int, float]


@types.coroutine
def _wish(wanted: _Wish | None) -> Generator[_Wish | None, bool, bool]:
    return (yield wanted)


class _DrivenWaits:
    """In a coroutine that the reactor drives."""

    def readable(self, sock: socket.socket, until: float) -> Awaitable[bool]:
        return _wish((sock, _READ, until))

    def writable(self, sock: socket.socket, until: float) -> Awaitable[bool]:
        return _wish((sock, _WRITE, until))

    async def turn(self) -> None:
        await _wish(None)


DRIVEN: Final[Waits] = _DrivenWaits()


class Run:
    """A coroutine under way, and the one thing that it waits for."""

    __slots__ = (
        *("cut_off_at", "ended", "fd", "fds", "instead", "mask", "send", "sock", "timer"),
        *("timer_at", "until", "work"),
    )

    def __init__(
        self,
        work: Coroutine[Any, bool | None, Any],
        ended: Ended[Any],
        cut_off_at: float = math.inf,
        instead: Callable[[], Any] | None = None,
    ) -> None:
        self.work: Coroutine[Any, bool | None, Any] | None = work  # None: it is over
        self.send = work.send
        self.ended = ended
        self.cut_off_at = cut_off_at
        self.instead = instead
        self.until: float | None = None  # None: it waits for no socket
        self.timer: Appointment | None = None
        self.timer_at = math.inf
        self.sock: socket.socket | None = None  # registered last, for these events
        self.fd = -1
        self.mask = 0
        self.fds: list[int] = []


def _over(_value: Any) -> Any:
    raise AssertionError("a run that is over goes nowhere")


class Reactor:
    """Drives coroutines. `run` must be running for them to go on."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._runs: dict[int, Run] = {}  # by descriptor
        self._watched: dict[int, Callable[[int], None]] = {}  # by descriptor
        self.pacer = Pacer(self._wake_at)  # whatever else falls due at an instant
        self._turned: deque[Run] = deque()  # let others go on, and go on themselves now
        self._scope: trio.CancelScope | None = None  # of the wait under way
        self._rested_at = -math.inf
        self._now: Callable[[], float] = trio.current_time

    def close(self) -> None:
        """End whatever is under way, untold, and give the epoll back."""
        for run in [*self._runs.values(), *self._turned]:
            self.call_off(run)
        self._epoll.close()

    # --- Who begins ---------------------------------------------------------------------------------

    def start(
        self,
        work: Coroutine[Any, bool | None, T],
        ended: Ended[T],
        *,
        cut_off_at: float = math.inf,
        instead: Callable[[], T] | None = None,
    ) -> Run:
        """Drive `work` from here on; `ended` may be told before this returns.

        Args:
            work: waits through `DRIVEN`.
            ended: told once. Never for a run that was called off.
            cut_off_at: on trio's clock; a run that wants to wait after that is closed.
            instead: what such a run came to.
        """
        run = Run(work, ended, cut_off_at, instead)
        self._step(run, None)
        return run

    async def do(self, work: Coroutine[Any, bool | None, T]) -> T:
        """Drive `work` and wait for it, in a task. It sees the task's context."""
        context = copy_context()
        over = trio.Event()
        found: list[Callable[[], T]] = []

        def note(value: Callable[[], T]) -> None:
            found.append(value)
            over.set()

        run = Run(work, note)
        send = work.send
        run.send = lambda value: context.run(send, value)
        self._step(run, None)
        try:
            await over.wait()
        finally:
            self.call_off(run)
        return found[0]()

    def call_off(self, run: Run) -> None:
        """Close a run, if it is not over; nobody is told."""
        work = run.work
        self._forget(run)
        if work is not None:
            work.close()

    def watch(self, sock: socket.socket, act: Callable[[int], None]) -> None:
        """Have `act` done with the events of each moment in which there is something to read."""
        self._watched[sock.fileno()] = act
        self._epoll.register(sock, _READ)

    # --- One turn -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Drive for ever."""
        self._now = trio.lowlevel.current_clock().current_time
        while True:
            with trio.CancelScope(deadline=self._next_at()) as self._scope:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._scope = None
            self._hand_out()
            if self.pacer.next_at() <= self._now():
                self.pacer.act()
                self._rested_at = self._now() + REST_S

    def _hand_out(self) -> None:
        """Hand out a batch of what the kernel has."""
        for fd, event in self._epoll.poll(0, _BATCH):
            run = self._runs.get(fd)
            if run is not None and run.fd == fd:
                if run.until is not None:
                    self._step(run, True)
            elif fd in self._watched:
                self._watched[fd](event)
            else:
                self._drop(fd)
        for _ in range(len(self._turned)):
            self._step(self._turned.popleft(), True)

    def _next_at(self) -> float:
        return -math.inf if self._turned else max(self.pacer.next_at(), self._rested_at)

    def _wake_at(self, when: float) -> None:
        when = max(when, self._rested_at)
        if self._scope is not None and when < self._scope.deadline:
            self._scope.deadline = when

    # --- One run ------------------------------------------------------------------------------------

    def _step(self, run: Run, value: bool | None) -> None:
        """Send a run on until it waits for what is not there."""
        if run.work is None:
            return
        run.until = None
        while True:
            try:
                wish = run.send(value)
            except StopIteration as stop:
                self._end(run, stop.value)
                return
            except Exception as error:  # noqa: BLE001  # raised where its value is asked for
                self._fail(run, error)
                return
            if wish is None:
                self._turned.append(run)
                self._rested_at = -math.inf
                self._wake_at(-math.inf)
                return
            sock, mask, until = wish
            now = self._now()
            if now >= run.cut_off_at:
                self._cut_off(run)
                return
            if now < until:
                break
            value = False
        if sock is not run.sock or mask != run.mask:
            self._register(run, sock, mask)
        run.until = until
        if until < run.timer_at:
            self._time(run, until)

    def _register(self, run: Run, sock: socket.socket, mask: int) -> None:
        fd = run.fd = sock.fileno()
        if sock is run.sock:
            self._epoll.modify(fd, mask)
        else:
            try:
                self._epoll.register(fd, mask)
            except FileExistsError:  # a run may go back to a socket that it waited for before
                self._epoll.modify(fd, mask)
            self._runs[fd] = run
            run.fds.append(fd)
        run.sock, run.mask = sock, mask

    def _drop(self, fd: int) -> None:
        """Hear no more of a socket that nobody waits for: left open, or put off for another."""
        self._runs.pop(fd, None)
        with suppress(OSError):  # it was closed just now
            self._epoll.unregister(fd)

    def _time(self, run: Run, until: float) -> None:
        if run.timer is not None:
            run.timer.call_off()
        run.timer_at = until
        run.timer = self.pacer.at(until, lambda: self._call_time(run))

    def _call_time(self, run: Run) -> None:
        run.timer_at = math.inf
        if run.until is None:
            return
        if run.until <= self._now():
            self._step(run, False)
        else:
            self._time(run, run.until)

    def _end(self, run: Run, value: Any) -> None:
        ended = run.ended
        self._forget(run)
        ended(lambda: value)

    def _fail(self, run: Run, error: Exception) -> None:
        def fail() -> Any:
            raise error

        ended = run.ended
        self._forget(run)
        ended(fail)

    def _cut_off(self, run: Run) -> None:
        ended, instead = run.ended, run.instead
        assert instead is not None, "who is cut off has something instead"
        self.call_off(run)
        ended(instead)

    def _forget(self, run: Run) -> None:
        """Take a run out of everything."""
        for fd in run.fds:
            if self._runs.get(fd) is run:
                del self._runs[fd]
        if run.timer is not None:
            run.timer.call_off()
        run.work = run.until = run.sock = run.timer = None
        run.send, run.ended, run.instead = _over, _over, None
