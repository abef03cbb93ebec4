"""A toolbox for tests, allowed to contact loopback, and checks of a server there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from probe.core.outcome import Outcome
from probe.toolbox import Toolbox, ToolboxSettings, open_toolbox, run_check
from proto.model import Check, Kind

START_US = 1_750_000_000_000_000
"""What the toolbox's wall clock says, always."""


def web_check(kind: Kind, port: int, **fields: Any) -> Check:
    """A check of a server on 127.0.0.1, under the name x.test."""
    given: dict[str, Any] = {
        "check_no": 1,
        "check_id": "web",
        "host": "x.test",
        "pinned": "127.0.0.1",
        "port": port,
        **fields,
    }
    return Check(kind=kind, **given)


@asynccontextmanager
async def a_box(**settings: Any) -> AsyncIterator[Toolbox]:
    """A toolbox that may contact loopback, and nothing else that is special."""
    given: dict[str, Any] = {"allow_networks": ("127.0.0.0/8",), **settings}
    async with open_toolbox(ToolboxSettings(**given), wall=lambda: START_US) as box:
        yield box


async def ask(check: Check, **settings: Any) -> Outcome:
    """Run the check in a toolbox of its own."""
    async with a_box(**settings) as box:
        return await run_check(check, box)
