"""Find the name servers of a zone from here, with the vantage's own resolvers.

A search asks at most eight names for name servers and 13 of those for addresses of two families, 34
questions; it is made once per time to live, or once a minute where it finds nothing. The zone's
servers themselves are asked one per slot, in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import trio

from probe.core.dnswire import DnsFormError, Reply
from probe.core.outcome import Attempt, Refusal
from probe.core.zone import ADDRESSES_MAX, SERVERS_MAX, Delegation, ZoneServer, enclosing
from probe.io.box import Toolbox
from probe.io.dns import Question, ask
from probe.io.ways import own_address
from proto.model import Check

_NXDOMAIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The servers to take in turn, or why there are none; and the way there, for people."""

    delegation: Delegation | None
    why_none: str = ""
    attempts: tuple[Attempt, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Search:
    """One search under way."""

    check: Check
    box: Toolbox
    deadline: float  # trio's clock
    attempts: list[Attempt] = field(default_factory=list)
    ttls_s: list[int] = field(default_factory=list)

    async def ask(self, name: str, qtype: str) -> Reply | None:
        """One question to the vantage's resolvers; None when nobody knows an answer."""
        question = Question(
            name=name,
            qtype=qtype,
            deadline=self.deadline,
            source=self.box.settings.source_address,
        )
        try:
            answer = await ask(question, self.box.resolvers())
        except DnsFormError:
            return None
        attempt = answer.attempt if isinstance(answer, Refusal) else answer.attempts[-1]
        said = "" if isinstance(answer, Refusal) else " ".join(answer.reply.values) or "none"
        self.attempts.append(replace(attempt, detail=f"{qtype} of {name}: {said}".rstrip(": ")))
        if isinstance(answer, Refusal) or answer.reply.rcode not in {0, _NXDOMAIN}:
            return None
        if answer.reply.values:
            self.ttls_s.append(answer.reply.ttl_s or 0)
        return answer.reply


async def find_servers(check: Check, box: Toolbox, *, deadline: float) -> Found:
    """The zone's servers that this vantage may and can contact.

    They have addresses of the check's family, or of the other one where the zone or this vantage
    has none of that.
    """
    now_us = box.wall()
    kept = box.delegations.of(check.host, check.family, now_us=now_us)
    if kept is not None and kept.is_fresh(now_us=now_us):
        return Found(delegation=kept)
    failed = box.delegations.why_none(check.host, check.family, now_us=now_us)
    if failed is not None:
        return Found(delegation=kept, why_none=failed)
    search = _Search(check=check, box=box, deadline=deadline)
    found = await _search(search)
    attempts = tuple(search.attempts)
    if isinstance(found, str):
        box.delegations.fail(check.host, check.family, found, now_us=now_us)
        return Found(delegation=kept, why_none=found, attempts=attempts)
    box.delegations.keep(check.host, check.family, found)
    return Found(delegation=found, attempts=attempts)


async def _search(search: _Search) -> Delegation | str:
    for zone in enclosing(search.check.host):
        reply = await search.ask(zone, "NS")
        if reply is None:
            return f"no resolver of this vantage says who serves {zone}"
        if reply.rcode == _NXDOMAIN and zone != search.check.host.rstrip("."):
            return f"{zone} does not exist, so no zone holds {search.check.host}"
        if reply.values and not reply.cnames:
            return await _addresses(search, zone, reply.values[:SERVERS_MAX])
    return f"no name at or above {search.check.host} has name servers"


async def _addresses(search: _Search, zone: str, names: Sequence[str]) -> Delegation | str:
    why = f"no name server of {zone} has an address that this vantage can contact"
    for family in (search.check.family, 10 - search.check.family):
        servers, barred = await _addresses_of(search, names, family=family)
        if servers:
            return Delegation(
                zone=zone,
                servers=tuple(sorted(servers)),
                found_at_us=search.box.wall(),
                ttl_s=min(search.ttls_s),
            )
        why = barred or why
    return why


async def _addresses_of(
    search: _Search, names: Sequence[str], *, family: int
) -> tuple[set[ZoneServer], str | None]:
    """The servers with an address of a family, and why the policy bars one of them."""
    found: set[ZoneServer] = set()
    barred: list[str] = []

    async def look(name: str) -> None:
        reply = await search.ask(name, "AAAA" if family == 6 else "A")
        if reply is None:
            search.ttls_s.append(0)  # something is missing: look again soon
        for text in () if reply is None else reply.values[:ADDRESSES_MAX]:
            why = search.box.why_barred(text)
            if why is not None:
                barred.append(why)
            elif own_address(text) is not None:
                found.add(ZoneServer(name, text))

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(look, name)
    return found, next(iter(barred), None)
