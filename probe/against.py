"""Reach several hosts by connections and by echoes, for the doctor to compare.

Each host is contacted as a check of a plan would be: through the address policy and the rates of the
operator's probe.toml, by the same runners. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from probe.core.address import parse_address
from probe.core.limits import TRACES_MAX, Gate
from probe.core.wayout import HostReading, WayReading, distance
from probe.io import hostfacts
from probe.io.box import Toolbox
from probe.io.ways import gateway_state, interface_to, way_to
from probe.toolbox import run_check
from proto.charges import contacts_of
from proto.model import Check, HostLimits, Kind, Result

HOSTS_MAX: Final = 6
"""Anchors of the plan that are compared: a majority of these is no accident."""

TIMEOUT_S: Final = 5.0
"""As long as a usual check waits."""

CONNECTIONS: Final = 3
"""The fastest of so many is compared: one alone may have met a busy moment."""

ANCHORS: Final = "anchor/"
"""How the checks of anchors begin: chosen well-run hosts, each in a network of its own."""

USUAL_PORT: Final = 443

_SOMEWHERE: Final = {4: "9.9.9.9", 6: "2620:fe::9"}
"""Public addresses to ask the routing table about; nothing is sent there."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host to compare by."""

    host: str
    port: int
    family: int

    @property
    def name(self) -> str:
        """As a person writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def named(text: str, families: Iterable[int]) -> tuple[Target, ...]:
    """`HOST`, `HOST:PORT`, `V6` or `[V6]:PORT`; a name once for each family that is here.

    Raises:
        ValueError: it is none of these; the text says how to write it.
    """
    host, port = text, str(USUAL_PORT)
    if parse_address(text) is None:
        head, colon, tail = text.rpartition(":")
        if colon and (head.endswith("]") or ":" not in head):
            host, port = head, tail
    host = host.removeprefix("[").removesuffix("]") if host.endswith("]") else host
    address = parse_address(host)
    is_host = address is not None or (host and not set(host) & set("[]:"))
    if not is_host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"--against {text!r}: write it as HOST, HOST:PORT or [2001:db8::1]:PORT")
    mine = sorted(families) or [4] if address is None else [address.version]
    return tuple(Target(host, int(port), family) for family in mine)


def anchors_of(checks: Iterable[Check]) -> tuple[Target, ...]:
    """Hosts of the plan's anchors that take connections, HOSTS_MAX of them, over each family asked."""
    found: dict[str, dict[Target, None]] = {}
    for check in checks:
        if check.check_id.startswith(ANCHORS) and check.port is not None and not check.control:
            target = Target(check.pinned or check.host, check.port, check.family)
            found.setdefault(target.host, {})[target] = None
    return tuple(target for host in list(found)[:HOSTS_MAX] for target in found[host])


async def read_hosts(
    box: Toolbox, limits: HostLimits, targets: Sequence[Target]
) -> tuple[HostReading, ...]:
    """Reach each of these, all at once."""
    reach = _Reach(box, Gate(limits, now_s=trio.current_time()))
    found: dict[Target, HostReading] = {}

    async def read(target: Target) -> None:
        found[target] = await reach.host(target)

    async with trio.open_nursery() as nursery:
        for target in dict.fromkeys(targets):
            nursery.start_soon(read, target)
    return tuple(found[target] for target in dict.fromkeys(targets))


async def read_ways(
    box: Toolbox, limits: HostLimits, targets: Sequence[Target]
) -> tuple[tuple[HostReading, ...], tuple[WayReading, ...]]:
    """The hosts, and what the kernel says of the ways there before and after."""
    before = {family: hostfacts.counters(family) for family in box.families}
    hosts = await read_hosts(box, limits, targets)
    ways = []
    for family, earlier in sorted(before.items()):
        grown = _grown(earlier, hostfacts.counters(family))
        aim = next((h.address for h in hosts if h.family == family and h.address), None)
        way = way_to(aim or _SOMEWHERE[family])
        interface = interface_to(aim or _SOMEWHERE[family])
        mtu, link_type = hostfacts.link_facts(interface) if interface else (None, None)
        ways.append(
            WayReading(
                family=family,
                own=way.own,
                interface=interface,
                mtu=mtu,
                link_type=link_type,
                loopback=await hostfacts.loopback_answers(family),
                gateway=way.gateway,
                gateway_answers=gateway_state(way.gateway) if way.gateway else None,
                received=None if grown is None else grown.received,
                delivered=None if grown is None else grown.delivered,
            )
        )
    return hosts, tuple(ways)


def _grown(
    earlier: hostfacts.Counters | None, later: hostfacts.Counters | None
) -> hostfacts.Counters | None:
    if earlier is None or later is None:
        return None
    return hostfacts.Counters(
        later.received - earlier.received, later.delivered - earlier.delivered
    )


class _Reach:
    """Runs checks of hosts within the operator's limits."""

    def __init__(self, box: Toolbox, gate: Gate) -> None:
        self._box = box
        self._gate = gate
        self._tracing = trio.CapacityLimiter(TRACES_MAX)

    async def host(self, target: Target) -> HostReading:
        """By connections first; then by echoes to the address that the first one went to."""
        check = Check(
            check_no=0,
            check_id="doctor",
            kind=Kind.TCP,
            host=target.host,
            port=target.port,
            family=target.family,
            timeout_s=TIMEOUT_S,
        )
        first, trouble = await self._run(check)
        if first is not None and first.address is not None:
            check = replace(check, pinned=first.address)
        rows = [first]
        if first is not None and first.failure is None and first.reason is None:
            rows += [(await self._run(check))[0] for _ in range(CONNECTIONS - 1)]
        echo, _ = await self._run(replace(check, kind=Kind.ICMP, port=None))
        reading = HostReading(
            name=target.name,
            family=target.family,
            address=None if first is None else first.address,
            tcp_rtt_us=min(
                (row.rtt_us_min for row in rows if row and row.rtt_us_min), default=None
            ),
            icmp_rtt_us=None if echo is None else echo.rtt_us_min,
            trouble=trouble,
            tried=first is not None and first.reason is None,
        )
        if reading.tcp_rtt_us is None or reading.icmp_rtt_us is None:
            return reading
        return replace(
            reading,
            tcp_hops=await self._hops(check),
            icmp_hops=await self._hops(replace(check, port=None)),
        )

    async def _hops(self, check: Check) -> int | None:
        """With how few hops to live a packet is answered as if by the host itself."""
        async with self._tracing:
            row, _ = await self._run(replace(check, kind=Kind.TRACE, packets=1))
        if row is None or row.failure is not None:
            return None
        return distance(row.hops, row.address)

    async def _run(self, check: Check) -> tuple[Result | None, str | None]:
        """The row, and in words why it is no good one; no row where the rates allow no more."""
        if self._gate.admit(check, now_s=trio.current_time()) is not None:
            return None, "the limits of probe.toml allow no more contacts now"
        box = replace(self._box, may_contact=lambda address: self._admit(address, check))
        try:
            outcome = await run_check(check, box)
        finally:
            self._gate.finished(check)
        row = outcome.result
        if row.reason is not None:
            return row, f"not run: {row.reason}: {outcome.attempts[-1].detail}"
        return row, None if row.failure is None else f"{row.failure} at {row.operation}"

    def _admit(self, address: str, check: Check) -> bool:
        return self._gate.admit_address(
            address, now_s=trio.current_time(), contacts=contacts_of(check)
        )
