"""Zones of the lab's name servers, what an honest server says of them, and how a broken one lies.

Values in, values out: which socket a question came from is the business of `dns_server`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from deploy.lab import dns_wire as wire

#: How long the lab's records live in caches: short, so that a demo sees a DNS fault begin and end.
TTL_S: Final = 4


#: What a malformed reply lacks at its end: the option record of EDNS and a part of an address.
MISSING_BYTES: Final = 13


class DnsMode(StrEnum):
    """How an authoritative server misbehaves."""

    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    DROP = "drop"
    WRONG = "wrong"  # every address is the argument
    SLOW = "slow"  # the argument is a delay in seconds
    EMPTY = "empty"
    MALFORMED = "malformed"  # the reply breaks off inside its last record
    YXDOMAIN = "yxdomain"  # an rcode that no name server gives to a question


RCODES: Final[Mapping[DnsMode, int]] = {
    DnsMode.NXDOMAIN: wire.NXDOMAIN,
    DnsMode.SERVFAIL: wire.SERVFAIL,
    DnsMode.REFUSED: wire.REFUSED,
    DnsMode.EMPTY: wire.NOERROR,
    DnsMode.YXDOMAIN: wire.YXDOMAIN,
}


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone's apex and its records by name."""

    apex: str
    records: Mapping[str, tuple[wire.Record, ...]]
    soa: wire.Record


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One line of a fault file."""

    mode: DnsMode
    zone: str = ""  # empty: every zone
    argument: str = ""

    def concerns(self, name: str) -> bool:
        return not self.zone or name == self.zone or name.endswith("." + self.zone)

    def line(self) -> str:
        return f"{self.mode} {self.zone or '.'} {self.argument}".rstrip() + "\n"


def make_zone(apex: str, addresses: Mapping[str, Sequence[str]], *, ttl_s: int = TTL_S) -> Zone:
    """Build a zone from names (below or at the apex) to IPv4 and IPv6 addresses."""
    soa = wire.Record(apex, "SOA", ttl_s, f"ns.{apex} hostmaster.{apex} 1 3600 600 86400 {ttl_s}")
    records: dict[str, tuple[wire.Record, ...]] = {
        apex: (soa, wire.Record(apex, "NS", ttl_s, f"ns.{apex}"))
    }
    for name, texts in addresses.items():
        made = [wire.Record(name, "AAAA" if ":" in text else "A", ttl_s, text) for text in texts]
        records[name] = (*records.get(name, ()), *made)
    return Zone(apex, records, soa)


def answer_from(zones: Sequence[Zone], question: wire.Question) -> wire.Answer:
    """What an honest authoritative server says (RFC 1034 §4.3.2 without delegations)."""
    matching = [z for z in zones if question.name == z.apex or question.name.endswith("." + z.apex)]
    if not matching:
        return wire.Answer(rcode=wire.REFUSED)
    zone = max(matching, key=lambda z: len(z.apex))
    if question.name not in zone.records:
        rcode = wire.NXDOMAIN
        return wire.Answer(rcode=rcode, authority=(zone.soa,), authoritative=True)
    there = zone.records[question.name]
    found = tuple(r for r in there if wire.TYPES[r.rtype] == question.qtype)
    authority = () if found else (zone.soa,)
    return wire.Answer(rcode=wire.NOERROR, answers=found, authority=authority, authoritative=True)


def read_faults(text: str) -> tuple[Misbehaviour, ...]:
    """Parse a fault file; a zone of `.` means every zone."""
    parsed: list[Misbehaviour] = []
    for line in text.splitlines():
        mode, zone, argument = (*line.split(), "", "")[:3]
        parsed.append(Misbehaviour(DnsMode(mode), "" if zone == "." else zone, argument))
    return tuple(parsed)


def misbehave(fault: Misbehaviour, honest: wire.Answer) -> wire.Answer:
    """What the broken server says instead; `drop` and `slow` are the sender's business."""
    if fault.mode in RCODES:
        return wire.Answer(rcode=RCODES[fault.mode], authoritative=True)
    if fault.mode is DnsMode.WRONG:
        wanted = "AAAA" if ":" in fault.argument else "A"
        lies = tuple(replace(r, data=fault.argument) for r in honest.answers if r.rtype == wanted)
        return replace(honest, answers=lies or honest.answers)
    if fault.mode is DnsMode.MALFORMED:
        return replace(honest, missing_bytes=MISSING_BYTES)
    return honest
