"""An operator's command asks the coordinator that runs, or the files of one that does not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from coordinator.app import wall_us
from coordinator.offline import Offline
from coordinator.rpc.operator import NotRunningError, Operator

T = TypeVar("T")


def either(data: Path, ask: Callable[[Any], Awaitable[T]]) -> T:
    """Ask the running coordinator; with none running, the files themselves."""

    async def both() -> T:
        try:
            return await ask(Operator(data / "admin.sock"))
        except NotRunningError:
            _say_when_new(data)
            with Offline.open(data, wall=wall_us) as offline:
                return await ask(offline)

    return asyncio.run(both())


def _say_when_new(data: Path) -> None:
    """A mistyped --data would make a fresh authority, whose tokens no coordinator knows."""
    if not (data / "registry.duckdb").exists():
        print(
            f"soundings coordinator: {data} was never used by a coordinator and is made now; "
            "tokens work only with the coordinator that is run with this --data",
            file=sys.stderr,
        )
