"""`make bench-probe`: what issue reports and the README may claim of the probe, measured.

    python -m tests.bench.probe [--quick] [--only accuracy|mixed|blackbox|echoes|footprint ...]

The outer process fetches the peers, starts itself in the lab's sandbox for everything that sends
packets, raises that process's weight, runs the footprint's own bench, and puts the figures together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from deploy.lab.namespace import SANDBOX, is_inside, prepare_sandbox, sandbox_environment
from tests.bench import machine
from tests.bench.accuracy import measure_accuracy
from tests.bench.contract import Bench, say
from tests.bench.ground import standing_ground
from tests.bench.load import (
    LATENESS_MS,
    PROMISED_PER_S,
    RATES,
    measure_beside_blackbox,
    measure_echoes,
    measure_mixed,
)
from tests.bench.peers import PeerError, ensure_peers
from tests.bench.running import ROOT
from tests.bench.weight import raise_weight

PARTS: Final = ("accuracy", "mixed", "blackbox", "echoes", "footprint")
FLOORS: Final[dict[str, tuple[tuple[str, str, float], ...]]] = {
    "accuracy": (
        ("icmp_error_p50", "<=", 10),
        ("icmp_error_p99", "<=", 50),
        ("icmp_error_p99_tx", "<=", 10),
        ("icmp_error_p99_of_fping", "<=", 1),
        ("tcp_error_p99", "<=", 60),
        ("ttfb_error_p99", "<=", 60),
    ),
    "mixed": (
        ("mixed_carried", ">=", PROMISED_PER_S),
        ("mixed_lateness_p99", "<", LATENESS_MS),
        ("mixed_false_failures", "==", 0),
    ),
    "blackbox": (("mixed_cpu_of_blackbox", "<=", 0.75),),
    "echoes": (("icmp_echoes_per_core", ">=", 20_000),),
    "footprint": (
        ("idle_rss", "<=", 50),
        ("idle_cpu", "<=", 1),
        ("base_install", "<=", 45),
        ("start", "<", 0.6),
    ),
}
_WEIGH_EVERY_S: Final = 0.3


def main(argv: Sequence[str]) -> int:
    """Measure and print; the exit code of the contract, or 2 when a peer is missing."""
    options = _options(argv)
    if is_inside(os.environ):
        return _inside(options)
    bench = Bench("probe", machine=machine.describe())
    for part in options.only:
        for name, op, value in FLOORS[part]:
            bench.require(name, op, value)
    busy = machine.Busy.now()
    try:
        options.blackbox = str(ensure_peers(ROOT / "out" / "bench" / "peers"))
    except PeerError as error:
        say(str(error))
        return 2
    _take(bench, _run_inside(options))
    if "footprint" in options.only:
        _take(bench, _run_footprint(options))
    busy.since(bench)
    return bench.finish()


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-probe", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: does it run?")
    parser.add_argument("--rounds", type=int, default=None, help="5, or 1 with --quick")
    parser.add_argument("--seconds", type=float, default=None, help="of each run: 8, or 1")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeat for more")
    parser.add_argument("--blackbox", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.only = options.only or list(PARTS)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1.0 if options.quick else 8.0)
    return options


# --- Outside --------------------------------------------------------------------------------------


def _run_inside(options: argparse.Namespace) -> dict[str, Any]:
    parts = [part for part in options.only if part != "footprint"]
    if not parts:
        return {}
    words = ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
    words += ["--blackbox", options.blackbox, *(["--quick"] if options.quick else [])]
    words += [word for part in parts for word in ("--only", part)]
    return _run_bench(
        [*SANDBOX, sys.executable, "-m", "tests.bench.probe", *words],
        sandbox_environment(os.environ),
    )


def _run_footprint(options: argparse.Namespace) -> dict[str, Any]:
    words = ["--seconds", "5", "--runs", "1"] if options.quick else []
    argv = [sys.executable, "-m", "tests.bench.footprint", *words]
    return _run_bench(argv, dict(os.environ))


def _run_bench(argv: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The last line of another bench; nothing where it failed, as it says on standard error."""
    process = subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    ended = threading.Event()
    weigher = threading.Thread(target=_keep_weight, args=(process.pid, ended), daemon=True)
    weigher.start()
    try:
        output, _ = process.communicate()
    finally:
        ended.set()
        process.kill()
        weigher.join()
    lines = output.strip().splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}


def _keep_weight(pid: int, ended: threading.Event) -> None:
    """Every run has processes of its own, in sessions of their own."""
    while not ended.wait(_WEIGH_EVERY_S):
        raise_weight(pid)


def _take(bench: Bench, printed: dict[str, Any]) -> None:
    bench.absorb(printed.get("figures", {}))


# --- Inside ---------------------------------------------------------------------------------------


def _inside(options: argparse.Namespace) -> int:
    """Everything that sends a packet; prints its figures, and leaves the floors to the outside."""
    prepare_sandbox()
    bench = Bench("probe", machine={})
    parts: dict[str, Callable[..., None]] = {
        "accuracy": measure_accuracy,
        "mixed": partial(measure_mixed, rates=RATES[:1] if options.quick else RATES),
        "blackbox": partial(measure_beside_blackbox, program=Path(options.blackbox)),
        "echoes": measure_echoes,
    }
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        standing_ground(Path(name)) as ground,
    ):
        for part in options.only:
            try:
                parts[part](bench, ground, rounds=options.rounds, seconds=options.seconds)
            except Exception:  # noqa: BLE001 - its floors fall short; the others are worth having
                traceback.print_exc()
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
