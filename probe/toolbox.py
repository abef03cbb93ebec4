"""The one door to the runners: open what they share, run one check, say what cannot run here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probe.core.outcome import Outcome
from probe.io.box import Toolbox, ToolboxSettings, WallClock
from proto.model import Check

__all__ = ["Toolbox", "ToolboxSettings", "WallClock", "open_toolbox", "run_check", "unsupported"]


@asynccontextmanager
async def open_toolbox(settings: ToolboxSettings, *, wall: WallClock) -> AsyncIterator[Toolbox]:
    """Open what every check shares and keep its receiver tasks running until the block ends."""
    raise NotImplementedError
    yield


async def run_check(check: Check, box: Toolbox) -> Outcome:
    """One run of one check; raises nothing for what the network or the local host does."""
    raise NotImplementedError


def unsupported(check: Check, box: Toolbox) -> str | None:
    """Why this vantage cannot run the check, with the way to repair it; None when it can."""
    raise NotImplementedError
