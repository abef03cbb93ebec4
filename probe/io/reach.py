"""The way from an address to an open connection that every check over TCP shares."""

from __future__ import annotations

from typing import NamedTuple

from probe.core.draft import Draft
from probe.core.outcome import (
    Outcome,
    Refusal,
    Resolved,
    bare_row,
    first_facts,
    port_of,
    refused,
)
from probe.io.box import Toolbox
from probe.io.reactor import DRIVEN
from probe.io.tcp import Connected, connect
from proto.model import Check


class Reached(NamedTuple):
    """An open connection to the one address of this slot. Whoever holds it closes the socket."""

    check: Check
    resolved: Resolved
    connected: Connected
    deadline: float  # trio's clock


async def reach(
    check: Check, resolved: Resolved, box: Toolbox, *, deadline: float
) -> Reached | Outcome:
    """Connect; the finished outcome when that already fails. Driven by the reactor."""
    connected = await _connect(check, resolved.address, box, deadline=deadline)
    if isinstance(connected, Refusal):
        return refused(check, connected, resolved=resolved, attempts=resolved.attempts)
    return Reached(check=check, resolved=resolved, connected=connected, deadline=deadline)


async def connect_again(reached: Reached, box: Toolbox) -> Reached | Refusal:
    """A second connection to the same address within the same deadline."""
    address = reached.resolved.address
    connected = await _connect(reached.check, address, box, deadline=reached.deadline)
    return connected if isinstance(connected, Refusal) else reached._replace(connected=connected)


def draft_of(reached: Reached, *, is_told: bool) -> Draft:
    """The row so far: an address, a connection, and the kernel's round trip of its handshake."""
    connected, resolved, check = reached.connected, reached.resolved, reached.check
    draft = Draft(
        row=bare_row(port_of(check), check.family),
        address=resolved.address,
        is_told=is_told,
        facts=first_facts(check, resolved),
    )
    if is_told:
        draft.take(resolved.attempts)
        draft.take(connected.attempts)
    else:
        draft.clocks.append(connected.stamp_source)
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
    return await connect(
        address, port, deadline=deadline, source=box.source_for(address), waits=DRIVEN
    )
