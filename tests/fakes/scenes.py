"""The scene that stories play on, and the checks that run there, as plain values."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import trio

from probe.core.outcome import Outcome
from probe.io.box import Toolbox
from probe.toolbox import run_check
from proto.model import Kind
from tests.fakes import netlab
from tests.fakes.boxes import loopback_box
from tests.fakes.checks import check
from tests.fakes.netlab import TARGET, TARGET6, on

Row = dict[str, Any]
PORT: Final = 8080
ALLOWED: Final = ("10.0.0.0/8", "fd00::/8")


@asynccontextmanager
async def scene(**fields: Any) -> AsyncIterator[Toolbox]:
    """The three machines, a listener on the target in both families, and a toolbox.

    A story told with the word "raw" has no right to datagram ICMP sockets.
    """
    netlab.build(icmp="raw" not in sys.argv[2:])
    with (
        on("target", netlab.listener("0.0.0.0", PORT)),
        on("target", netlab.listener(TARGET6, PORT)),
    ):
        async with loopback_box(allow_networks=ALLOWED, **fields) as box:
            # The first packet of each way waits for ARP and ND.
            for host, family in ((TARGET, 4), (TARGET6, 6)):
                await run_check(check(host=host, family=family, port=PORT), box)
            yield box


def told(outcome: Outcome) -> Row:
    """A row with how it was decided."""
    row = asdict(outcome.result)
    row["decided"] = [attempt.classified_by for attempt in outcome.attempts]
    row["detail"] = [attempt.detail for attempt in outcome.attempts]
    return row


async def tcp(box: Toolbox, host: str = TARGET, **fields: Any) -> Row:
    """One tcp check."""
    family = 6 if ":" in host else 4
    values = {"port": PORT, **fields}
    return told(await run_check(check(Kind.TCP, host=host, family=family, **values), box))


async def icmp(box: Toolbox, host: str = TARGET, **fields: Any) -> Row:
    """One icmp check."""
    family = 6 if ":" in host else 4
    return told(await run_check(check(Kind.ICMP, host=host, family=family, **fields), box))


async def told_at_once(**rows: Awaitable[Row]) -> Row:
    """All these rows, made side by side."""
    found: Row = {}

    async def note(name: str, row: Awaitable[Row]) -> None:
        found[name] = await row

    async with trio.open_nursery() as nursery:
        for name, row in rows.items():
            nursery.start_soon(note, name, row)
    return found


async def all_ways(box: Toolbox, host: str = TARGET, host6: str = TARGET6, **fields: Any) -> Row:
    """Both kinds of check over both families."""
    return await told_at_once(
        tcp4=tcp(box, host, **fields),
        tcp6=tcp(box, host6, **fields),
        icmp4=icmp(box, host, **fields),
        icmp6=icmp(box, host6, **fields),
    )
