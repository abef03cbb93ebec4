"""The name servers' sockets (UDP and TCP), and the authoritative server that can be made to lie.

A fault is a file that the server reads at each question, `MODE [ZONE [ARGUMENT]]` a line: no restart,
no signal, and what is broken can be read with `cat`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from deploy.lab import dns_wire as wire
from deploy.lab.dns_zone import DnsMode, Misbehaviour, Zone, answer_from, misbehave, read_faults

TCP_IDLE_S: Final = 5.0
#: What a `slow` fault without an argument waits: more than a client's first timeout.
SLOW_S: Final = 3.0


class Ask(Protocol):
    """Whoever knows answers; None stands for silence."""

    async def __call__(self, question: wire.Question) -> wire.Answer | None: ...


class Respond(Protocol):
    """Bytes of a question in, bytes of the reply out; None stands for silence."""

    async def __call__(self, message: bytes, *, over_tcp: bool) -> bytes | None: ...


@dataclass(slots=True)
class Authority:
    """Answers from its zones, as its fault file says."""

    zones: Sequence[Zone]
    fault_file: Path

    async def __call__(self, question: wire.Question) -> wire.Answer | None:
        honest = answer_from(self.zones, question)
        for fault in self._faults():
            if fault.concerns(question.name):
                if fault.mode is DnsMode.DROP:
                    return None
                if fault.mode is DnsMode.SLOW:
                    await asyncio.sleep(float(fault.argument or SLOW_S))
                return misbehave(fault, honest)
        return honest

    def _faults(self) -> tuple[Misbehaviour, ...]:
        try:
            return read_faults(self.fault_file.read_text())
        except FileNotFoundError:
            return ()


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets a server answers on, opened in its place before it was started."""

    udp: Sequence[socket.socket]
    tcp: Sequence[socket.socket]


def serve(ask: Ask, listeners: Listeners, *, recursion_available: bool) -> None:
    """Answer questions until killed."""
    asyncio.run(_serve(ask, listeners, recursion_available=recursion_available))


async def _serve(ask: Ask, listeners: Listeners, *, recursion_available: bool) -> None:
    async def respond(message: bytes, *, over_tcp: bool) -> bytes | None:
        try:
            question = wire.read_question(message)
        except wire.DnsFormatError:
            return wire.format_error(message)
        answer = await ask(question)
        if answer is None:
            return None
        return wire.write_reply(
            question, answer, recursion_available=recursion_available, over_tcp=over_tcp
        )

    async with asyncio.TaskGroup() as group:
        for udp in listeners.udp:
            group.create_task(_serve_udp(udp, respond, group))
        for tcp in listeners.tcp:
            server = await asyncio.start_server(lambda r, w: _serve_tcp(r, w, respond), sock=tcp)
            group.create_task(server.serve_forever())


async def _serve_udp(udp: socket.socket, respond: Respond, group: asyncio.TaskGroup) -> None:
    loop = asyncio.get_running_loop()
    udp.setblocking(False)

    async def one(message: bytes, peer: tuple[str, int]) -> None:
        reply = await respond(message, over_tcp=False)
        if reply is not None:
            with contextlib.suppress(OSError):  # the client has gone: no concern of ours
                udp.sendto(reply, peer)

    while True:
        try:
            message, peer = await loop.sock_recvfrom(udp, 4096)
        except OSError:
            continue  # an ICMP error about an earlier reply
        group.create_task(one(message, peer))


async def _serve_tcp(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Respond
) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        while True:
            async with asyncio.timeout(TCP_IDLE_S):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                message = await reader.readexactly(length)
            reply = await respond(message, over_tcp=True)
            if reply is not None:
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
    writer.close()
