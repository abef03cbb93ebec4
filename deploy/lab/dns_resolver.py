"""A caching resolver of the lab: asks the authoritative servers over the lab's network.

It is what makes DNS faults look as they do in the world: an answer lives on in a cache until its TTL
ends, so a broken zone is seen by one network after the other; a silent authoritative server becomes
SERVFAIL at the client, not silence; that a name does not exist is cached too (RFC 2308).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from deploy.lab import dns_wire as wire

#: A resolver asks each server this often and waits this long: 2.4 s until SERVFAIL with one server,
#: below the five seconds after which most clients stop waiting.
ATTEMPT_TIMEOUT_S: Final = 1.2
ATTEMPTS: Final = 2
#: Names in one cache; the lab has some dozens, so a full cache means a random-name attack.
CACHE_ENTRIES: Final = 4096


@dataclass(frozen=True, slots=True)
class Upstream:
    """An authoritative server as a resolver knows it."""

    address: str
    port: int = 53


@dataclass(slots=True)
class Resolver:
    """Asks authoritative servers over the network and caches what they say for its TTL."""

    servers: Mapping[str, Sequence[Upstream]]  # by zone apex
    chance: random.Random
    _cache: dict[tuple[str, int], tuple[float, wire.Answer]] = field(default_factory=dict)
    _asking: dict[tuple[str, int], asyncio.Future[wire.Answer]] = field(default_factory=dict)

    async def __call__(self, question: wire.Question) -> wire.Answer | None:
        key = question.name, question.qtype
        cached = self._cache.get(key)
        if cached and cached[0] > time.monotonic():
            return _aged(cached[1], left_s=cached[0] - time.monotonic())
        # One question in flight per name: a crowd of clients must not become a crowd of queries.
        if key not in self._asking:
            self._asking[key] = asyncio.ensure_future(self._ask(question))
            self._asking[key].add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(self._asking[key])

    async def _ask(self, question: wire.Question) -> wire.Answer:
        servers = self._servers_of(question.name)
        if not servers:
            return wire.Answer(rcode=wire.NXDOMAIN)
        for server in itertools.islice(itertools.cycle(servers), ATTEMPTS * len(servers)):
            asked = replace(question, ident=self.chance.randrange(1 << 16))
            answer = await _ask_server(server, asked)
            if answer and answer.rcode in {wire.NOERROR, wire.NXDOMAIN}:
                self._keep((question.name, question.qtype), answer)
                return answer
        return wire.Answer(rcode=wire.SERVFAIL)

    def _servers_of(self, name: str) -> Sequence[Upstream]:
        zones = [z for z in self.servers if name == z or name.endswith("." + z)]
        return self.servers[max(zones, key=len)] if zones else ()

    def _keep(self, key: tuple[str, int], answer: wire.Answer) -> None:
        ttl_s = min((r.ttl_s for r in (*answer.answers, *answer.authority)), default=0)
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        self._cache[key] = time.monotonic() + ttl_s, answer


def _aged(answer: wire.Answer, *, left_s: float) -> wire.Answer:
    def age(records: tuple[wire.Record, ...]) -> tuple[wire.Record, ...]:
        return tuple(replace(record, ttl_s=max(1, round(left_s))) for record in records)

    return replace(answer, answers=age(answer.answers), authority=age(answer.authority))


async def _ask_server(server: Upstream, question: wire.Question) -> wire.Answer | None:
    """One query over UDP; None when nothing fit came in time or the server is not there."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect((server.address, server.port))
            asking.send(wire.write_question(question.ident, question.name, question.qtype))
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                return wire.read_reply(await loop.sock_recv(asking, 4096), question)
        except (OSError, TimeoutError, wire.DnsFormatError):
            return None
