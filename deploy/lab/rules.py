"""A packet rule, once for the kernel and once for the oracle.

A rule sits at a hook of one machine, picks packets, and drops, rejects, resets or thins them. Here
it is a value. `nft_commands` says it to the kernel; `deploy.lab.oracle` asks `Rule.picks` about
imagined packets. So what is injected and what is expected come from one description.

Where a drop sits decides what it looks like from the machine: the output hook makes `send` fail
with EPERM, the ingress hook of the far end is pure silence. Faults of a network belong there.

Neighbour discovery is spared by every rule, in both families (ARP never passes these hooks): a
fault of the network layer is not also a fault of the link layer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

from deploy.lab.topology import FAMILIES, family_of, interface_name

ALWAYS: Final = 1000  # per mille


class Hook(StrEnum):
    """Where on a machine the packet is met."""

    INGRESS = "ingress"  # as it comes off the cable from one neighbour
    FORWARD = "forward"  # on its way through a router
    INPUT = "input"  # as it is handed to this machine's own stack
    OUTPUT = "output"  # as this machine's own stack sends it


class Action(StrEnum):
    """What happens to a packet that is picked."""

    DROP = "drop"
    NET_UNREACHABLE = "net_unreachable"
    HOST_UNREACHABLE = "host_unreachable"
    ADMIN_PROHIBITED = "admin_prohibited"
    PORT_UNREACHABLE = "port_unreachable"
    RESET = "reset"  # TCP only
    LIMIT = "limit"  # only so many a second pass


class Stage(StrEnum):
    """Which packet of an exchange it is."""

    ANY = "any"
    SYN = "syn"
    SYN_ACK = "syn_ack"
    PAYLOAD = "payload"  # TCP segments that carry bytes: the ClientHello is the first
    ECHO = "echo"
    ECHO_REPLY = "echo_reply"


_STAGE_PROTOCOL: Final = {
    Stage.SYN: "tcp",
    Stage.SYN_ACK: "tcp",
    Stage.PAYLOAD: "tcp",
    Stage.ECHO: "icmp",
    Stage.ECHO_REPLY: "icmp",
}
_VERDICTS: Final = {
    Action.DROP: "drop",
    Action.NET_UNREACHABLE: "reject with icmpx no-route",
    Action.HOST_UNREACHABLE: "reject with icmpx host-unreachable",
    Action.ADMIN_PROHIBITED: "reject with icmpx admin-prohibited",
    Action.PORT_UNREACHABLE: "reject with icmpx port-unreachable",
    Action.RESET: "reject with tcp reset",
}
_SPARED: Final = (
    "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """An imagined packet; addresses as integers, `port` is the server's."""

    family: int
    protocol: str  # icmp, tcp, udp
    stage: Stage
    source: int
    destination: int
    port: int | None
    to_server: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which packets. Empty prefixes match every address; `port` is the destination's port."""

    families: tuple[int, ...] = FAMILIES
    protocol: str | None = None
    stage: Stage = Stage.ANY
    source: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()
    port: int | None = None

    def picks(self, packet: Packet) -> bool:
        """Is it one of these packets?"""
        return (
            packet.family in self.families
            and self._applies(packet.family)
            and self._protocol() in {None, packet.protocol}
            and self.stage in {Stage.ANY, packet.stage}
            and (self.port is None or (packet.to_server and packet.port == self.port))
            and _within(packet.source, self.source, packet.family)
            and _within(packet.destination, self.destination, packet.family)
        )

    def expressions(self, *, at_ingress: bool) -> Iterator[str]:
        """The match in nft's words, one expression a family."""
        for family in self.families:
            if self._applies(family):
                protocol = f"meta protocol {_header(family)}"
                layer = protocol if at_ingress else f"meta nfproto ipv{family}"
                yield " ".join((layer, *self._words(family)))

    def _applies(self, family: int) -> bool:
        """Prefixes that are all of the other family leave this one alone."""
        return all(
            not prefixes or any(family_of(p) == family for p in prefixes)
            for prefixes in (self.source, self.destination)
        )

    def _protocol(self) -> str | None:
        return _STAGE_PROTOCOL.get(self.stage, self.protocol)

    def _words(self, family: int) -> Iterator[str]:
        header = _header(family)
        for side, prefixes in (("saddr", self.source), ("daddr", self.destination)):
            own = [prefix for prefix in prefixes if family_of(prefix) == family]
            if own:
                yield f"{header} {side} {{ {', '.join(own)} }}"
        yield from _protocol_words(self._protocol(), self.stage, family)
        if self.port is not None:
            yield f"{self._protocol() or 'th'} dport {self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to which packets where.

    `arriving_from`: neighbours; required (one) at the ingress hook, a restriction elsewhere.
    `per_mille`: share of the picked packets. `per_second`: what LIMIT lets pass.
    """

    machine: str
    hook: Hook
    match: Match = Match()
    action: Action = Action.DROP
    arriving_from: tuple[str, ...] = ()
    per_mille: int = ALWAYS
    per_second: int = 0

    def __post_init__(self) -> None:
        if self.hook is Hook.INGRESS and len(self.arriving_from) != 1:
            raise ValueError(f"{self}: a rule at the ingress hook names one neighbour")
        if not 1 <= self.per_mille <= ALWAYS:
            raise ValueError(f"{self}: per_mille is {self.per_mille}; it must be in 1..{ALWAYS}")

    @property
    def is_certain(self) -> bool:
        """Does every picked packet suffer?"""
        return self.per_mille == ALWAYS and self.action is not Action.LIMIT

    def nft_commands(self, table: str) -> str:
        """The commands that put the rule into force, in a table of its own."""
        family = "netdev" if self.hook is Hook.INGRESS else "inet"
        lines = [f"add table {family} {table}"]
        lines.append(f"add chain {family} {table} c {{ type filter hook {self._hook_words()}; }}")
        lines.append(f"add rule {family} {table} c {_SPARED} accept")
        at_ingress = self.hook is Hook.INGRESS
        for expression in self.match.expressions(at_ingress=at_ingress):
            words = f"{self._arrival_words()} {expression} {self._verdict_words()}"
            lines.append(f"add rule {family} {table} c {words}")
        return "\n".join(lines)

    def nft_undo(self, table: str) -> str:
        """The command that takes the rule out of force."""
        return f"delete table {'netdev' if self.hook is Hook.INGRESS else 'inet'} {table}"

    def _hook_words(self) -> str:
        if self.hook is Hook.INGRESS:
            device = interface_name(self.arriving_from[0])
            return f'ingress device "{device}" priority -500'
        return f"{self.hook} priority -10"

    def _arrival_words(self) -> str:
        if self.hook is Hook.INGRESS or not self.arriving_from:
            return ""
        devices = ", ".join(f'"{interface_name(name)}"' for name in self.arriving_from)
        return f"iifname {{ {devices} }}"

    def _verdict_words(self) -> str:
        if self.action is Action.LIMIT:
            burst = max(1, self.per_second)
            return f"limit rate over {self.per_second}/second burst {burst} packets drop"
        if self.per_mille == ALWAYS:
            return _VERDICTS[self.action]
        return f"numgen random mod {ALWAYS} < {self.per_mille} {_VERDICTS[self.action]}"


def _header(family: int) -> str:
    return "ip" if family == 4 else "ip6"


def _protocol_words(protocol: str | None, stage: Stage, family: int) -> Iterator[str]:
    icmp = "icmp" if family == 4 else "icmpv6"
    match stage:
        case Stage.SYN:
            yield "tcp flags & (syn | ack) == syn"
        case Stage.SYN_ACK:
            yield "tcp flags & (syn | ack) == (syn | ack)"
        case Stage.PAYLOAD:
            yield "tcp flags & (psh | ack) == (psh | ack)"
        case Stage.ECHO:
            yield f"{icmp} type echo-request"
        case Stage.ECHO_REPLY:
            yield f"{icmp} type echo-reply"
        case Stage.ANY if protocol == "icmp":
            yield f"meta l4proto {'icmp' if family == 4 else 'ipv6-icmp'}"
        case Stage.ANY if protocol is not None:
            yield f"meta l4proto {protocol}"
        case Stage.ANY:
            pass


def _within(address: int, prefixes: tuple[str, ...], family: int) -> bool:
    if not prefixes:
        return True
    spans = (_span(prefix) for prefix in prefixes)
    return any(version == family and address & mask == base for version, base, mask in spans)


@cache
def _span(prefix: str) -> tuple[int, int, int]:
    """(family, network, mask) of a prefix: parsed once, compared a hundred thousand times."""
    network = ipaddress.ip_network(prefix)
    return network.version, int(network.network_address), int(network.netmask)
