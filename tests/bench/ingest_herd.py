"""How long a fleet is away after its coordinator was killed: `make bench-ingest BENCH=--herd`.

Every simulated probe loses its session at once by kill -9, waits by the real probe's own back-off
(`probe.core.backoff`: full jitter, growing bound), and sends again what was not acknowledged. The
coordinator starts again after `Pace.down_s`, on the same port, over the same files.
"""

from __future__ import annotations

import random
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.core import backoff
from tests.bench.contract import Bench, over_rounds, say
from tests.bench.fleet_files import FleetFiles, make_fleet
from tests.bench.ingest_running import coordinator_of, load_of, recount
from tests.bench.processes import cpu_s


@dataclass(frozen=True, slots=True)
class Pace:
    """How a herd is made; a test's is faster than a real probe."""

    period_s: float = 20.0  # between two reports of one probe
    settled_s: float = 4.0  # from the start of reports to the kill: some are on their way then
    down_s: float = 2.0  # until the coordinator is started again
    base_s: float = backoff.BASE_S
    cap_s: float = backoff.CAP_S


@dataclass(frozen=True, slots=True)
class Herd:
    """What one kill cost."""

    back: int
    s_p50: float
    s_p99: float
    cpu_s: float  # of the new coordinator until all were back
    attempts: int  # to connect, after the kill
    wrong_rows: int  # lost or doubled
    failures: dict[str, int]


def measure(bench: Bench, probes: int) -> None:
    """One herd, as figures of its own size."""
    bench.require(f"herd_{probes}_not_back", "==", 0)
    bench.require(f"herd_{probes}_lost_or_doubled_rows", "==", 0)
    with tempfile.TemporaryDirectory(prefix="soundings-bench-") as place:
        herd = kill_and_wait(Path(place), probes)
    say(f"why attempts failed: {herd.failures}")
    for name, value, unit in (
        ("not_back", probes - herd.back, "probes"),
        ("back_s_p50", herd.s_p50, "s"),
        ("back_s_p99", herd.s_p99, "s"),
        ("attempts", herd.attempts, "connections"),
        ("cpu_ms_per_probe", herd.cpu_s / probes * 1000, "ms of server CPU"),
        ("lost_or_doubled_rows", herd.wrong_rows, "rows"),
    ):
        bench.add(f"herd_{probes}_{name}", over_rounds([value], unit))


def kill_and_wait(directory: Path, probes: int, pace: Pace = Pace()) -> Herd:  # frozen
    """Connect a fleet, kill its coordinator, start it again, and wait for everybody."""
    files = make_fleet(directory, probes=probes, components=1, port=_free_port())
    with coordinator_of(files) as (first, address):
        load = load_of(
            files,
            address,
            probes=probes,
            period_s=pace.period_s,
            base_s=pace.base_s,
            cap_s=pace.cap_s,
        )
        say(f"{probes} probes connected in {load.answer()['took_s']:.1f} s")
        load.tell("start")
        load.answer()
        time.sleep(pace.settled_s)
        first.process.kill()
        first.process.wait()
    time.sleep(pace.down_s)
    with coordinator_of(files) as (second, _):
        load.tell("back")
        came = load.answer()
        spent_s = cpu_s(second.pid)
        load.tell("stop")
        done = load.answer()
        load.end(within_s=60)
    return _summed(files, came, done, spent_s=spent_s, probes=probes)


def _summed(
    files: FleetFiles, came: dict[str, Any], done: dict[str, Any], *, spent_s: float, probes: int
) -> Herd:
    stored, distinct = recount(files)
    return Herd(
        back=came["back"],
        s_p50=came["s_p50"],
        s_p99=came["s_p99"],
        cpu_s=spent_s,
        attempts=done["attempts"] - probes,
        wrong_rows=abs(stored - done["acked_rows"])
        + (stored - distinct)
        + done["sent_rows"]
        - done["acked_rows"],
        failures=done["failures"],
    )


def _free_port() -> int:
    """One that is free now, below those that the kernel gives to clients."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("none of 100 ports between 20,000 and 30,000 is free")
