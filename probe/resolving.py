"""Ask each resolver by itself, and see whether it says what is so.

Three questions tell the usual lies: a name that nobody registered (resolvers of providers answer with
a page of advertisements), the address of a root server that has not changed since 2023-11 and before
(rewritten answers), and its IPv6 address (hidden by resolvers that filter AAAA). A resolver that
knows no such names, as in a closed network, is suspected of nothing.

Source: https://www.iana.org/domains/root/servers.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import trio

from probe.core.doctor import ResolverReading
from probe.core.endpoint import Endpoint
from probe.core.outcome import Refusal
from probe.io.dns import Answer, Question, ask

RESOLVER_TIMEOUT_S: Final = 2.0
"""A resolver that is slower than this fails checks of names all the time."""

KNOWN: Final = "a.root-servers.net"
KNOWN_A: Final = "198.41.0.4"
KNOWN_AAAA: Final = "2001:503:ba3e::2:30"
_NOERROR: Final = 0


async def read_resolvers(servers: Sequence[Endpoint]) -> tuple[ResolverReading, ...]:
    """All of them at once, each by its own."""
    found: dict[Endpoint, ResolverReading] = {}

    async def read(server: Endpoint) -> None:
        found[server] = await _read(server)

    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(read, server)
    return tuple(found[server] for server in servers)


async def _read(server: Endpoint) -> ResolverReading:
    """First the name servers of the root: every resolver knows them."""
    root = await _ask(server, ".", "NS")
    if isinstance(root, Refusal):
        why = f"{root.attempt.classified_by} ({root.attempt.detail})"
        return ResolverReading(server=str(server), rtt_us=None, trouble=why)
    rcode = root.reply.rcode
    if rcode != _NOERROR:
        trouble = f"answers with rcode {rcode}"
        return ResolverReading(server=str(server), rtt_us=root.rtt_us, trouble=trouble)
    # Under a real top-level domain: names below reserved ones are answered by most without asking.
    nobodys = await _values(server, f"{secrets.token_hex(12)}.com", "A")
    known = await _values(server, KNOWN, "A")
    known_6 = await _values(server, KNOWN, "AAAA")
    others = [value for value in known if value != KNOWN_A]
    others += [value for value in known_6 if value != KNOWN_AAAA]
    return ResolverReading(
        server=str(server),
        rtt_us=root.rtt_us,
        trouble=None,
        invents=nobodys[0] if nobodys else None,
        rewrites=others[0] if others else None,
        hides_ipv6=KNOWN_A in known and not known_6,
    )


async def _values(server: Endpoint, name: str, qtype: str) -> tuple[str, ...]:
    answer = await _ask(server, name, qtype)
    return () if isinstance(answer, Refusal) else answer.reply.values


async def _ask(server: Endpoint, name: str, qtype: str) -> Answer | Refusal:
    deadline = trio.current_time() + RESOLVER_TIMEOUT_S
    return await ask(Question(name=name, qtype=qtype, deadline=deadline), (server,))
