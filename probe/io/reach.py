"""The way to an open connection that every check over TCP shares: resolve, then connect, once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from probe.core.draft import Draft
from probe.core.outcome import Outcome, Refusal, Resolved, blank_row, port_of, refused
from probe.io.box import Toolbox
from probe.io.resolve import resolve
from probe.io.tcp import Connected, connect
from proto.model import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """An open connection to the one address of this slot. Whoever holds it closes the socket."""

    check: Check
    resolved: Resolved
    connected: Connected
    deadline: float  # trio's clock


async def reach(check: Check, box: Toolbox, *, deadline: float) -> Reached | Outcome:
    """Resolve and connect; the finished outcome when that already fails or is barred."""
    resolved = await resolve(check, box, deadline=deadline)
    if isinstance(resolved, Refusal):
        return refused(check, resolved)
    connected = await _connect(check, resolved.address, box, deadline=deadline)
    if isinstance(connected, Refusal):
        return refused(check, connected, resolved=resolved, attempts=resolved.attempts)
    return Reached(check=check, resolved=resolved, connected=connected, deadline=deadline)


async def connect_again(reached: Reached, box: Toolbox) -> Reached | Refusal:
    """A second connection to the same address within the same deadline."""
    address = reached.resolved.address
    connected = await _connect(reached.check, address, box, deadline=reached.deadline)
    return connected if isinstance(connected, Refusal) else replace(reached, connected=connected)


def draft_of(reached: Reached) -> Draft:
    """The row so far: an address, a connection, and the kernel's round trip of its handshake."""
    connected, resolved = reached.connected, reached.resolved
    draft = Draft(
        row=blank_row(reached.check, resolved=resolved),
        address=resolved.address,
        attempts=[*resolved.attempts, *connected.attempts],
    )
    draft.learn(
        connect_us=connected.connect_us,
        retransmits=connected.retransmits,
        rtt_us_min=connected.rtt_us,
        rtt_us_median=connected.rtt_us,
        rtt_us_max=connected.rtt_us,
    )
    return draft


async def _connect(
    check: Check, address: str, box: Toolbox, *, deadline: float
) -> Connected | Refusal:
    port = port_of(check)
    assert port is not None, "a check over TCP has a port"
    return await connect(address, port, deadline=deadline, source=box.source_for(address))
