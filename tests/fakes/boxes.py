"""Toolboxes for loopback: everything of this machine allowed, nothing of any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from probe.io.box import Toolbox, ToolboxSettings, WallClock
from probe.toolbox import open_toolbox

LOOPBACK = ("127.0.0.0/8", "::1/128")
A_MORNING_US = 1_700_000_000_000_000


def a_morning() -> int:
    """A wall clock that stands still."""
    return A_MORNING_US


@asynccontextmanager
async def loopback_box(*, wall: WallClock = a_morning, **fields: Any) -> AsyncIterator[Toolbox]:
    """A toolbox that may contact loopback, with settings as given."""
    values: dict[str, Any] = {"allow_networks": LOOPBACK, "resolvers": ("127.0.0.1:1",), **fields}
    async with open_toolbox(ToolboxSettings(**values), wall=wall) as box:
        yield box
