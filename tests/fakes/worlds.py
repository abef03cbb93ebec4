"""Small seeded worlds that tests judge: who measures what, what breaks, and the rows that come out.

The figures are drawn per world and never equal the judge's tables: a component that breaks answers
500 with some share, hangs with some share, and so on. A world is made of names and addresses for the
documentation ranges; a fault is a function from (vantage, target, bin) to how an attempt ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COUNTRIES = ("DE", "FR", "US", "JP", "BR", "ZA")

# How one attempt ended: (operation, failure, http status), or None for a good one, or "slow".
End = tuple[str | None, str | None, int | None] | str | None
Fault = Callable[["Spot", random.Random], End | bool]
Ends = Callable[["Spot", random.Random], Any]


@dataclass(frozen=True)
class Target:
    """One endpoint of a world."""

    service: str
    component: str
    role: str
    address: str
    asn: int
    prefix: str


@dataclass(frozen=True)
class Vantage:
    """One vantage point of a world."""

    name: str
    asn: int
    country: str


@dataclass(frozen=True, slots=True)
class Spot:
    """What a fault is asked about."""

    vantage: Vantage
    target: Target
    kind: str
    bin: int


@dataclass
class World:
    """Vantages, targets and the fault; `rows()` draws everything from the seed."""

    seed: int
    fault: Fault | None = None
    vantages: list[Vantage] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    history_bins: int = 13
    fault_bins: int = 12
    bin_s: int = 2
    attempts: int = 1
    loss: float = 0.003
    kinds: tuple[str, ...] = ("icmp", "tcp", "http", "dns")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Cells in the columns of the batch contract; the fault begins after the history."""
        for spot, ended, rtt_ms in self.slots():
            yield self._row(spot, ended, rtt_ms)

    def slots(self) -> Iterator[tuple[Spot, Any, float]]:
        """(where and when, how it ended, its time if it was good) of every slot, from the seed."""
        chance = random.Random(self.seed)
        base = {
            (v.name, t.component): chance.uniform(8.0, 160.0)
            for v in self.vantages
            for t in self.targets
        }
        for number in range(self.history_bins + self.fault_bins):
            for vantage in self.vantages:
                for target in self.targets:
                    rtt_ms = base[vantage.name, target.component]
                    for kind in self.kinds:
                        spot = Spot(vantage, target, kind, number - self.history_bins)
                        for _ in range(self.attempts):
                            ended = self._end(spot, chance)
                            slow = ended == "slow"
                            factor = chance.uniform(4, 20) if slow else chance.uniform(0.93, 1.08)
                            yield spot, ended, rtt_ms * factor

    def _row(self, spot: Spot, ended: Any, rtt_ms: float) -> dict[str, Any]:
        at = START + timedelta(seconds=(spot.bin + self.history_bins) * self.bin_s)
        good = ended is None or ended == "slow"
        operation, failure, http_status = (None, None, None) if good else ended
        sent = packets(spot.kind)
        return {
            "slot_at": at,
            "bin_s": self.bin_s,
            "vantage": spot.vantage.name,
            "vantage_asn": spot.vantage.asn,
            "vantage_country": spot.vantage.country,
            "service": spot.target.service,
            "component": spot.target.component,
            "role": spot.target.role,
            "kind": spot.kind,
            "family": 4,
            "address": spot.target.address,
            "target_asn": spot.target.asn,
            "target_prefix": spot.target.prefix,
            "sent": sent,
            "lost": 0 if good else sent,
            "operation": operation,
            "failure": failure,
            "http_status": (200 if good else http_status) if spot.kind == "http" else None,
            "rtt_ms": rtt_ms if good else None,
            "received_at": at + timedelta(seconds=self.bin_s + 1),
        }

    def _end(self, spot: Spot, chance: random.Random) -> Any:
        if self.fault is not None and spot.bin >= 0:
            ended = self.fault(spot, chance)
            if ended is not False:
                return ended
        if chance.random() < self.loss:
            return SILENT[spot.kind]
        return None


def packets(kind: str) -> int:
    """Attempts in one slot of a kind."""
    return 3 if kind == "icmp" else 1


SILENT: dict[str, End] = {
    "icmp": ("echo", "timeout", None),
    "tcp": ("connect", "timeout", None),
    "http": ("connect", "timeout", None),
    "dns": ("resolve", "dns_timeout", None),
}
NOTHING_WORKS: dict[str, End] = {**SILENT, "http": ("resolve", "dns_timeout", None)}


def draw(chance: random.Random, shares: list[tuple[float, Any]]) -> Any:
    """One of the ends, by share; what is left over is untouched (False)."""
    at = chance.random()
    for share, end in shares:
        at -= share
        if at < 0:
            return end
    return False


def make_world(
    seed: int,
    fault: Fault | None = None,
    *,
    vantages: int = 24,
    networks: int = 12,
    **settings: Any,
) -> World:
    """A service x with five components in one prefix with two strangers, and eight anchors."""
    people = [
        Vantage(
            f"v{number:02d}",
            64500 + number % networks,
            COUNTRIES[(number % networks) * 6 // max(networks, 1) % 6],
        )
        for number in range(vantages)
    ]
    prefix = "198.51.100.0/24"
    targets = [
        Target("x", name, role, f"198.51.100.{10 + number}", 64700, prefix)
        for number, (name, role) in enumerate(
            [
                ("spaces", "subject"),
                ("page", "sibling"),
                ("api", "sibling"),
                ("static", "sibling"),
                ("media", "sibling"),
                ("stranger-a", "neighbour"),
                ("stranger-b", "neighbour"),
            ]
        )
    ]
    targets.append(Target("x", "elsewhere", "same_as", "203.0.113.9", 64700, "203.0.113.0/24"))
    targets += [
        Target(
            "anchor",
            f"anchor-{number}",
            "anchor",
            f"192.0.2.{number}",
            64800 + number,
            f"192.0.2.{number}/32",
        )
        for number in range(8)
    ]
    return World(seed=seed, fault=fault, vantages=people, targets=targets, **settings)


def only(component: str, ends: Callable[[Spot, random.Random], Any]) -> Fault:
    """A fault of one component of x."""
    return lambda spot, chance: ends(spot, chance) if spot.target.component == component else False


def service_wide(ends: Callable[[Spot, random.Random], Any]) -> Fault:
    """A fault of every component of x, not of what stands around it."""
    own = ("subject", "sibling")
    return lambda spot, chance: ends(spot, chance) if spot.target.role in own else False


def overloads(spot: Spot, chance: random.Random) -> Any:
    """Successes, slow ones, time-outs and 503 mixed; the connect still works."""
    if spot.kind == "tcp":
        return draw(chance, [(0.08, "slow"), (0.04, SILENT["tcp"])])
    if spot.kind != "http":
        return False
    return draw(
        chance,
        [
            (0.34, "slow"),
            (0.22, ("reply", "timeout", None)),
            (0.22, ("reply", "http_status", 503)),
            (0.03, ("tls", "timeout", None)),
        ],
    )


def breaks(spot: Spot, chance: random.Random) -> Any:
    """Answers 500 nearly always."""
    if spot.kind != "http":
        return False
    return draw(chance, [(0.83, ("reply", "http_status", 500)), (0.11, ("reply", "timeout", None))])


def dead_network(spot: Spot, chance: random.Random) -> Any:
    """The prefix of x is gone, strangers included."""
    if spot.target.prefix != "198.51.100.0/24" or spot.kind == "dns":
        return False
    return draw(chance, [(0.96, SILENT[spot.kind])])


def lossy_network(spot: Spot, chance: random.Random) -> Any:
    """The prefix of x loses a good part of its packets."""
    if spot.target.prefix != "198.51.100.0/24" or spot.kind == "dns":
        return False
    shares: dict[str, list[tuple[float, Any]]] = {
        "icmp": [(0.38, SILENT["icmp"]), (0.15, "slow")],
        "tcp": [(0.27, SILENT["tcp"]), (0.38, "slow")],
        "http": [
            (0.29, SILENT["http"]),
            (0.33, "slow"),
            (0.10, ("tls", "timeout", None)),
            (0.09, ("reply", "timeout", None)),
        ],
    }
    return draw(chance, shares[spot.kind])


def lost_names(spot: Spot, chance: random.Random) -> Any:
    """The names of x do not resolve; pinned addresses answer."""
    if spot.target.role not in ("subject", "sibling") or spot.kind not in ("http", "dns"):
        return False
    return draw(chance, [(0.9, ("resolve", "dns_servfail", None))])


def refuses(spot: Spot, chance: random.Random) -> Any:
    """Nothing listens any more on the component's port."""
    if spot.kind not in ("tcp", "http"):
        return False
    return draw(chance, [(0.95, ("connect", "refused", None))])


def expired(spot: Spot, chance: random.Random) -> Any:
    """The certificate ran out."""
    if spot.kind != "http":
        return False
    return draw(chance, [(0.97, ("tls", "tls_expired", None))])


def oddity(spot: Spot, chance: random.Random) -> Any:
    """A failure of many shapes at once that no class has."""
    if spot.kind != "http":
        return False
    ends = [
        ("resolve", "dns_mismatch", None),
        ("tls", "reset", None),
        ("reply", "http_content", 200),
        ("connect", "host_unreachable", None),
        ("reply", "http_status", 451),
        ("tls", "tls_expired", None),
        ("connect", "refused", None),
    ]
    return draw(chance, [(0.13, end) for end in ends])


def cut_off(which: Callable[[Vantage], bool]) -> Fault:
    """Some vantages lose their line: nothing works from there."""
    return lambda spot, _chance: NOTHING_WORKS[spot.kind] if which(spot.vantage) else False


def transit_fails(sources: tuple[int, ...], targets: tuple[int, ...]) -> Fault:
    """Packets from some networks to some unrelated networks are lost on the way."""

    def fault(spot: Spot, chance: random.Random) -> Any:
        if spot.vantage.asn not in sources or spot.target.asn not in targets or spot.kind == "dns":
            return False
        return draw(chance, [(0.95, SILENT[spot.kind])])

    return fault


def both(first: Fault, second: Fault) -> Fault:
    """Two faults at once; the first one's end wins."""

    def fault(spot: Spot, chance: random.Random) -> Any:
        ended = first(spot, chance)
        return second(spot, chance) if ended is False else ended

    return fault


def blocked_in(country: str) -> Fault:
    """In one country connections to x's first component are cut after the name is sent."""

    def fault(spot: Spot, chance: random.Random) -> Any:
        theirs = spot.vantage.country == country and spot.target.component == "spaces"
        if not theirs or spot.kind != "http":
            return False
        return draw(chance, [(0.7, ("tls", "reset", None)), (0.25, ("tls", "timeout", None))])

    return fault


def cut_one_target(component: str, *, asn: int) -> Fault:
    """One network's vantages cannot use one component: a filter of theirs, or a ban of the site's."""

    def fault(spot: Spot, _chance: random.Random) -> Any:
        theirs = spot.vantage.asn == asn and spot.target.component == component
        if not theirs or spot.kind not in ("http", "tcp"):
            return False
        return ("connect", "timeout", None)

    return fault


def seen_from(fault: Fault | None, asns: Iterable[int]) -> Fault:
    """A fault that only some networks see."""
    inside = frozenset(asns)
    assert fault is not None
    return lambda spot, chance: fault(spot, chance) if spot.vantage.asn in inside else False
