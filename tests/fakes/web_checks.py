"""Checks of a server on 127.0.0.1 under the name x.test, and a toolbox to run them in."""

from __future__ import annotations

from typing import Any

from probe.core.outcome import Outcome
from probe.toolbox import run_check
from proto.model import Check, Kind
from tests.fakes.boxes import loopback_box


def web_check(kind: Kind, port: int, **fields: Any) -> Check:
    """A check of this kind, pinned to 127.0.0.1."""
    given: dict[str, Any] = {
        "check_no": 1,
        "check_id": "web",
        "host": "x.test",
        "pinned": "127.0.0.1",
        "port": port,
        **fields,
    }
    return Check(kind=kind, **given)


async def ask(check: Check, **settings: Any) -> Outcome:
    """Run the check in a toolbox of its own, allowed to contact loopback over IPv4."""
    given: dict[str, Any] = {"allow_networks": ("127.0.0.0/8",), **settings}
    async with loopback_box(**given) as box:
        return await run_check(check, box)
