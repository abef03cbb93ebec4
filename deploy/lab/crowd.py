r"""A crowd of real clients: each attempt to join has a connection of its own.

People arrive at random (a Poisson process whose rate follows the profile below), open a connection,
ask to join, wait as long as their patience lasts, and try again a few times when it fails. What the
platform feels is therefore real: handshakes, accepted connections, requests under way. The same
requests from other places are what an application-level attack would send: the twin differs in
nothing that anybody outside can see, and the lab keeps it so.

    rate        ______________
               /              \
    quiet ____/                \____
         start ^  ^ramp        ^ end
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: The process behind the crowd is one; beyond this many joins under way it stops starting more, and
#: says so in its counts, instead of running the machine out of descriptors.
MAX_UNDER_WAY: Final = 3000
READ_BYTES: Final = 4096
STATS_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdPlan:
    """Who comes when; times are seconds on the monotonic clock of this machine."""

    address: str
    port: int
    host: str
    path: str
    ca_file: Path | None  # None: plain HTTP
    quiet_per_s: float = 2.0  # people who are there on any day
    crowd_per_s: float = 0.0
    start_at: float = 0.0
    ramp_s: float = 3.0
    end_at: float = 0.0
    patience_s: float = 6.0
    tries: int = 2
    pause_s: float = 2.0
    seed: int = 1


def rate_at(plan: CrowdPlan, now: float) -> float:
    """Arrivals per second at an instant."""
    if not plan.start_at <= now < plan.end_at:
        return plan.quiet_per_s
    risen = 1.0 if plan.ramp_s <= 0 else min(1.0, (now - plan.start_at) / plan.ramp_s)
    return plan.quiet_per_s + risen * plan.crowd_per_s


def run_crowd(plan: CrowdPlan, stats_file: Path) -> None:
    """Arrive until killed; counts of outcomes are written to `stats_file` every second."""
    asyncio.run(_arrive(plan, stats_file))


@dataclass(slots=True)
class _Crowd:
    plan: CrowdPlan
    tls: ssl.SSLContext | None
    counts: Counter[str]
    under_way: int = 0


async def _arrive(plan: CrowdPlan, stats_file: Path) -> None:
    chance = random.Random(plan.seed)
    crowd = _Crowd(plan, _trusting(plan.ca_file), Counter())
    async with asyncio.TaskGroup() as group:
        group.create_task(_report(crowd, stats_file))
        due = time.monotonic()
        while True:
            # Thinning: candidates come at the highest rate, and the profile decides who is real.
            peak = plan.quiet_per_s + plan.crowd_per_s
            due += chance.expovariate(peak)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if chance.random() * peak > rate_at(plan, due):
                continue
            if crowd.under_way >= MAX_UNDER_WAY:
                crowd.counts["not_started"] += 1
                continue
            group.create_task(_person(crowd, pause_s=plan.pause_s * chance.uniform(0.5, 1.5)))


async def _person(crowd: _Crowd, *, pause_s: float) -> None:
    crowd.under_way += 1
    try:
        for _ in range(crowd.plan.tries):
            outcome = await _join(crowd)
            crowd.counts[outcome] += 1
            if outcome == "joined":
                return
            await asyncio.sleep(pause_s)
        crowd.counts["gave_up"] += 1
    finally:
        crowd.under_way -= 1


async def _join(crowd: _Crowd) -> str:
    """One attempt with its own connection; a word for how it went."""
    crowd.counts["attempts"] += 1
    try:
        async with asyncio.timeout(crowd.plan.patience_s):
            status = await _ask(crowd.plan, crowd.tls)
    except TimeoutError:
        return "timeout"
    except (OSError, asyncio.IncompleteReadError):
        return "connection_failed"
    return "joined" if status == 200 else f"status_{status}"


async def _ask(plan: CrowdPlan, tls: ssl.SSLContext | None) -> int:
    name = plan.host if tls else None
    reader, writer = await asyncio.open_connection(
        plan.address, plan.port, ssl=tls, server_hostname=name
    )
    try:
        writer.write(
            f"GET {plan.path} HTTP/1.1\r\nHost: {plan.host}\r\nConnection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n")
        while await reader.read(READ_BYTES):
            pass
        return int(head.split()[1])
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await writer.wait_closed()


def _trusting(ca_file: Path | None) -> ssl.SSLContext | None:
    return None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))


async def _report(crowd: _Crowd, stats_file: Path) -> None:
    while True:
        fresh = stats_file.with_suffix(".new")
        fresh.write_text(json.dumps({**crowd.counts, "under_way": crowd.under_way}))
        fresh.replace(stats_file)
        await asyncio.sleep(STATS_EVERY_S)
