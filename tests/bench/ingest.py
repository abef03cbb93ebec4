"""How much one coordinator takes in, durably: a fleet on loopback, and two other ways beside it.

`make bench-ingest` runs it; `BENCH=--quick` is a smoke run of a tenth the size, `BENCH=--herd` kills
the coordinator instead and waits for the fleet (tests.bench.ingest_herd). The coordinator is
the real command in a process of its own; the fleet (`tests.bench.ingest_load`) shares the machine
with it, so rates are what two cores do for both. CPU figures are the coordinator's alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coordinator.app import wall_us
from coordinator.configs import load_config
from coordinator.core.planner import check_ids, define_checks, number_checks
from proto.model import Check
from tests.bench import ingest_herd, ingest_peers
from tests.bench.contract import Bench, Figure, over_rounds, say
from tests.bench.fleet_files import FleetFiles, make_fleet
from tests.bench.ingest_running import ROWS, coordinator_of, load_of, recount
from tests.bench.machine import Busy, describe
from tests.bench.processes import Told, cpu_s, peak_rss_mb
from tests.bench.reports import rows_of
from tests.bench.weight import raise_weight

COMPONENTS: Final = 10
WARM_S: Final = 8.0
WINDOW_S: Final = 10.0
"""A figure's spread is that of windows of this length."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is."""

    probes: int
    seconds: float
    period_s: float
    busy_probes: int
    busy_s: float
    unary_rows: int
    many_rows: int
    herds: tuple[int, ...]


FULL: Final = Size(5000, 60.0, 4.9, 200, 15.0, 20_000, 3000, (1000, 5000))
QUICK: Final = Size(500, 10.0, 4.9, 50, 5.0, 2000, 500, (100,))


@dataclass(frozen=True, slots=True)
class Window:
    """What one stretch of the steady state saw."""

    took_s: float
    rows: int
    cpu_s: float  # of the coordinator
    ack_ms_p50: float | None  # None = nothing was acknowledged
    ack_ms_p99: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What one phase saw."""

    windows: tuple[Window, ...]
    rss_mb: float
    acked_rows: int
    stalls: int
    failures: dict[str, int]


def main(argv: list[str]) -> int:
    """Run the bench; 1 when a floor was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of a tenth the size")
    parser.add_argument("--herd", action="store_true", help="kill the coordinator, await the fleet")
    args = parser.parse_args(argv)
    size = QUICK if args.quick else FULL
    raise_weight(os.getpid())
    bench = Bench("ingest", machine=describe())
    busy = Busy.now()
    if args.herd:
        for probes in size.herds:
            ingest_herd.measure(bench, probes)
        busy.since(bench)
        return bench.finish()
    _promise(bench)
    with tempfile.TemporaryDirectory(prefix="soundings-bench-") as place:
        directory = Path(place)
        _paced(bench, directory / "fleet", size)
        per_cpu_s = _unpaced(bench, directory / "busy", size)
        _beside(bench, directory / "peers", size, per_cpu_s)
    busy.since(bench)
    return bench.finish()


def _promise(bench: Bench) -> None:
    bench.require("results_per_s", ">=", 100_000)
    bench.require("ack_ms_p99", "<", 1500)
    bench.require("rss_mb", "<", 1000)
    bench.require("results_per_core_s", ">=", 250_000)
    bench.require("failed_streams", "==", 0)
    bench.require("lost_or_doubled_rows", "==", 0)


def _paced(bench: Bench, directory: Path, size: Size) -> None:
    """The fleet at its usual pace."""
    files = _fleet(directory, size.probes)
    with coordinator_of(files) as (server, address):
        seen = _phase(files, server, address, probes=size.probes, size=size)
    _over(bench, "results_per_s", "1/s", seen, lambda w: w.rows / w.took_s)
    _over(bench, "ack_ms_p50", "ms", seen, lambda w: w.ack_ms_p50)
    _over(bench, "ack_ms_p99", "ms", seen, lambda w: w.ack_ms_p99)
    _over(bench, "server_cores", "cores", seen, lambda w: w.cpu_s / w.took_s)
    _one(bench, "rss_mb", seen.rss_mb, "MB")
    _one(bench, "stalls", seen.stalls, "reports")
    _one(bench, "failed_streams", sum(seen.failures.values()), "streams")
    stored, distinct = recount(files)
    say(f"{stored} rows stored, {seen.acked_rows} acknowledged; failures {seen.failures}")
    wrong = abs(stored - seen.acked_rows) + (stored - distinct)
    _one(bench, "lost_or_doubled_rows", wrong, "rows")


def _unpaced(bench: Bench, directory: Path, size: Size) -> float:
    """A few probes with a backlog: what a row costs when nobody waits."""
    files = _fleet(directory, size.busy_probes)
    with coordinator_of(files) as (server, address):
        seen = _phase(files, server, address, probes=size.busy_probes, size=size, backlog=True)
    _over(bench, "results_per_core_s", "1/s of server CPU", seen, lambda w: w.rows / w.cpu_s)
    _over(bench, "backlog_results_per_s", "1/s", seen, lambda w: w.rows / w.took_s)
    return bench.figures["results_per_core_s"].value


def _beside(bench: Bench, directory: Path, size: Size, per_cpu_s: float) -> None:
    """The same rows by other ways, as ratios of CPU."""
    files = _fleet(directory, 1)
    with coordinator_of(files):
        pass  # it makes the store, with the probe and the checks in it
    chance = random.Random(3)
    checks = _checks(files)
    rows = [row for _ in range(size.unary_rows // ROWS) for row in rows_of(checks, ROWS, chance)]
    store = files.data / "soundings.duckdb"
    peers = {
        "unary": ingest_peers.unary(directory, store, rows, probe_id=_probe_id(files)),
        "executemany": ingest_peers.executemany(store, rows[: size.many_rows], per_commit=ROWS),
    }
    for name, rate in peers.items():
        peer = Figure(value=rate, unit="1/s of server CPU", spread=(rate, rate))
        ratio = over_rounds([per_cpu_s / rate], "x", peers={name: peer})
        bench.add(f"ratio_to_{name}", ratio)


# --- one phase ---------------------------------------------------------------------------------------


def _phase(
    files: FleetFiles, server: Told, address: str, *, probes: int, size: Size, backlog: bool = False
) -> Measured:
    """Connect the fleet, let it warm up, measure, and wait for what is owed."""
    period_s = 0.0 if backlog else size.period_s
    load = load_of(files, address, probes=probes, period_s=period_s)
    connected = load.answer()
    say(f"{connected['welcomed']} probes connected in {connected['took_s']:.1f} s")
    _mark(load, "start")
    time.sleep(WARM_S)
    _mark(load)
    length_s = min(WINDOW_S, size.busy_s / 3) if backlog else WINDOW_S
    count = round((size.busy_s if backlog else size.seconds) / length_s)
    windows = tuple(_window(load, server, length_s) for _ in range(count))
    rss_mb = peak_rss_mb(server.pid)
    load.tell("stop")
    done = load.answer()
    load.end(within_s=60)
    return Measured(windows, rss_mb, done["acked_rows"], done["stalls"], done["failures"])


def _window(load: Told, server: Told, length_s: float) -> Window:
    cpu_before_s, began_s = cpu_s(server.pid), time.monotonic()
    time.sleep(length_s)
    mark = _mark(load)
    took_s = time.monotonic() - began_s
    window = Window(
        took_s=took_s,
        rows=mark["rows"],
        cpu_s=cpu_s(server.pid) - cpu_before_s,
        ack_ms_p50=mark.get("ack_ms_p50"),
        ack_ms_p99=mark.get("ack_ms_p99"),
    )
    say(f"{window.rows / took_s:,.0f} results/s, ack p99 {window.ack_ms_p99 or math.inf:.0f} ms")
    return window


def _mark(load: Told, word: str = "mark") -> dict[str, Any]:
    load.tell(word)
    return load.answer()


def _fleet(directory: Path, probes: int) -> FleetFiles:
    directory.mkdir()
    began_s = time.monotonic()
    files = make_fleet(directory, probes=probes, components=COMPONENTS)
    say(f"{probes} probes entered in {time.monotonic() - began_s:.1f} s")
    return files


def _checks(files: FleetFiles) -> list[Check]:
    config, _ = load_config(files.config, loaded_at_us=wall_us())
    definitions = define_checks(config, number_checks(check_ids(config), {}))
    return [definition.check for definition in definitions]


def _probe_id(files: FleetFiles) -> str:
    known: dict[str, str] = json.loads(files.fleet.read_text(encoding="utf-8"))["certificates"]
    return next(iter(known))


# --- how figures are added ---------------------------------------------------------------------------


def _over(
    bench: Bench, name: str, unit: str, seen: Measured, value: Callable[[Window], float | None]
) -> None:
    values = [number for window in seen.windows if (number := value(window)) is not None]
    if len(values) == len(seen.windows):  # else it is missing, and its floor short
        bench.add(name, over_rounds(values, unit))


def _one(bench: Bench, name: str, value: float, unit: str) -> None:
    bench.add(name, over_rounds([value], unit))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
