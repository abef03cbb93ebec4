"""The probe's shared ICMP socket alone, without engine and rows: many slots at once, one echo each.

What this carries more than the whole engine does is what a slot costs beside its packets.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import count
from typing import Final

import trio

from probe.io.clock import wall_us
from probe.io.icmp import Pinger
from probe.toolbox import ToolboxSettings, open_toolbox
from tests.bench.ground import BEHIND
from tests.bench.workload import PEER_BLOCK

AT_ONCE: Final = 100
_ADDRESSES: Final = 4000


async def flood(seconds: float) -> dict[str, float]:
    """Echo for so long; how many were answered, how many not, and the CPU that took."""
    told: dict[str, float] = {"answered": 0, "lost": 0}
    numbers = count()
    settings = ToolboxSettings(allow_networks=(BEHIND,))
    async with open_toolbox(settings, wall=wall_us()) as box:
        before_s = time.process_time()
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(_ask, box.pingers[4], numbers, told)
        told["cpu_s"] = time.process_time() - before_s
    return told


async def _ask(pinger: Pinger, numbers: count[int], told: dict[str, float]) -> None:
    while True:
        number = next(numbers) % _ADDRESSES
        address = f"10.{PEER_BLOCK + 3}.{number // 250}.{number % 250 + 1}"
        deadline = trio.current_time() + 5
        echoes = await pinger.echo(address, count=1, deadline=deadline, spacing_s=0)
        told["answered" if echoes.answers[0].failure is None else "lost"] += 1


if __name__ == "__main__":
    print(json.dumps(trio.run(flood, float(sys.argv[1]))))
