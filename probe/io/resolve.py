"""From the host of a check to the one address of this slot (signature first)."""

from __future__ import annotations

from probe.core.outcome import Refusal, Resolved
from probe.io.box import Toolbox
from proto.model import Check


async def resolve(check: Check, box: Toolbox, *, deadline: float) -> Resolved | Refusal:
    """Ask the vantage's resolvers; literals and pinned addresses pass through, policy last."""
    raise NotImplementedError
