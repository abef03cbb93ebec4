"""One TCP connection to one address, with what the kernel knows of it (signature first)."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from probe.core.outcome import Attempt, Refusal
from proto.model import StampSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """An open connection. Whoever holds it closes `sock`."""

    sock: socket.socket  # non-blocking, receive stamps and error queue switched on
    rtt_us: int
    retransmits: int  # SYNs sent again
    stamp_source: StampSource
    connect_us: int
    attempts: tuple[Attempt, ...]


async def connect(
    address: str, port: int, *, deadline: float, source: str | None = None
) -> Connected | Refusal:
    """Connect to exactly this address before `deadline` (trio's clock)."""
    raise NotImplementedError
