"""A name server on loopback whose every reply the test writes, made with another implementation."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import dns.message
import dns.rdatatype
import dns.rrset
import trio

Replies: TypeAlias = Sequence[bytes]
Behaviour: TypeAlias = Callable[[bytes, int], Replies]
"""From a query and its number (from 1) to the datagrams sent back; over TCP, to the chunks sent."""

PORTS_TRIED = 20


@dataclass(slots=True)
class DnsServer:
    """Where it listens, and what it was asked."""

    address: str
    port: int
    udp_queries: list[bytes] = field(default_factory=list)
    tcp_queries: list[bytes] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)  # who asked, in turn
    client_ports: list[int] = field(default_factory=list)  # over UDP

    @property
    def endpoint(self) -> str:
        """As a check or the settings name it."""
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else f"{self.address}:{self.port}"
        )


def reply(query: bytes, *records: str, rcode: int = 0, flags: int = 0) -> bytes:
    """A reply to the query; each record is "OWNER TTL TYPE CONTENT"."""
    message = dns.message.make_response(dns.message.from_wire(query))
    message.set_rcode(rcode)
    message.flags |= flags
    for record in records:
        owner, ttl, kind, content = record.split(" ", 3)
        message.answer.append(dns.rrset.from_text(f"{owner}.", int(ttl), "IN", kind, content))
    return message.to_wire(max_size=65535)  # over TCP there is room for what UDP cuts


def says(*records: str, rcode: int = 0, flags: int = 0) -> Behaviour:
    """Always this reply."""
    return lambda query, _: [reply(query, *records, rcode=rcode, flags=flags)]


def zone(**records: Sequence[str]) -> Behaviour:
    """A server that knows these records, "TTL TYPE CONTENT", by name with `__` for a dot.

    What it does not know does not exist, but for the names above a known one, which are empty.
    """
    known = {name.replace("__", "."): lines for name, lines in records.items()}

    def behave(query: bytes, _number: int) -> Replies:
        (question,) = dns.message.from_wire(query).question
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        found = [f"{name} {line}" for line in known.get(name, ()) if f" {kind} " in f" {line} "]
        exists = any(other == name or other.endswith(f".{name}") for other in known)
        return [reply(query, *found, rcode=0 if exists else 3)]

    return behave


def silence(query: bytes, number: int) -> Replies:
    """Never a reply."""
    return []


def framed(*wires: bytes) -> Replies:
    """Messages as TCP carries them."""
    return [len(wire).to_bytes(2, "big") + wire for wire in wires]


@asynccontextmanager
async def dns_server(
    udp: Behaviour, *, tcp: Behaviour | None = None, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[DnsServer]:
    """A server that behaves so; without `tcp` its TCP port is closed. `port` 0 is any free one."""
    family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
        listeners = await _bind(sock, (address, port), with_tcp=tcp is not None)
        server = DnsServer(address, sock.getsockname()[1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve_udp, sock, server, udp)
            if tcp is not None:

                async def handle(stream: trio.SocketStream) -> None:
                    await _serve_tcp(stream, server, tcp)

                nursery.start_soon(trio.serve_listeners, handle, listeners)
            yield server
            nursery.cancel_scope.cancel()


async def _bind(
    sock: trio.socket.SocketType, where: tuple[str, int], *, with_tcp: bool
) -> list[trio.SocketListener]:
    """Bind UDP, and TCP to the same port: the first of some ports where both are free."""
    address, port = where
    if not with_tcp:
        await sock.bind((address, port))
        return []
    for attempt in itertools.count():
        listeners = await trio.open_tcp_listeners(port, host=address)
        try:
            await sock.bind((address, listeners[0].socket.getsockname()[1]))
        except OSError:
            await listeners[0].aclose()
            if attempt == PORTS_TRIED:
                raise
        else:
            return listeners
    raise AssertionError


async def _serve_udp(sock: trio.socket.SocketType, server: DnsServer, behaviour: Behaviour) -> None:
    for number in itertools.count(1):
        query, client = await sock.recvfrom(4096)
        server.udp_queries.append(query)
        server.clients.append(client[0])
        server.client_ports.append(client[1])
        for wire in behaviour(query, number):
            await sock.sendto(wire, client)


async def _serve_tcp(stream: trio.SocketStream, server: DnsServer, behaviour: Behaviour) -> None:
    """Read one query, send the chunks, and hang up unless there is nothing to say."""
    received = b""
    server.clients.append(stream.socket.getpeername()[0])
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
        received += await stream.receive_some()
    server.tcp_queries.append(received[2:])
    chunks = behaviour(received[2:], len(server.tcp_queries))
    for chunk in chunks:
        await stream.send_all(chunk)
    if not chunks:
        await trio.sleep_forever()
    await stream.aclose()
