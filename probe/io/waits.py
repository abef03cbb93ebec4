"""Waiting for a socket until a deadline, whoever drives: a task of trio's, or the reactor.

What talks over a connection is written once, as coroutines that wait through this seam alone.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio


class Waits(Protocol):
    """Times are instants on trio's clock. False: the deadline came first."""

    def readable(self, sock: socket.socket, until: float) -> Awaitable[bool]:
        """Until there is something to read, an end or an error."""

    def writable(self, sock: socket.socket, until: float) -> Awaitable[bool]:
        """Until there is room to write, or a connection was made or refused."""

    def turn(self) -> Awaitable[None]:
        """Let others go on."""


class _TaskWaits:
    """In a task of trio's."""

    async def readable(self, sock: socket.socket, until: float) -> bool:
        return await _wait(trio.lowlevel.wait_readable, sock, until)

    async def writable(self, sock: socket.socket, until: float) -> bool:
        return await _wait(trio.lowlevel.wait_writable, sock, until)

    async def turn(self) -> None:
        await trio.lowlevel.checkpoint()


async def _wait(
    wait: Callable[[socket.socket], Awaitable[None]], sock: socket.socket, until: float
) -> bool:
    with trio.CancelScope(deadline=until) as scope:
        await wait(sock)
    return not scope.cancelled_caught


IN_A_TASK: Final[Waits] = _TaskWaits()
