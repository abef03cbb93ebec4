"""The durability drill: kill, fill and stall everything for a while, then count every row.

`make torture` runs it for 90 s; `TORTURE="--seed N --seconds S"` chooses, `--quick` is 15 s. The
coordinator is the real one with its judging and page, killed anywhere, between insert and commit,
and between commit and acknowledgement; the probes are real `soundings probe run` processes and
simulated ones on the probe's own spool and uplink, killed anywhere. Their disk is one of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.store.checking import check_store
from probe.core.spool import parse_segment_name
from tests.bench.contract import Bench, over_rounds, percentile, say
from tests.bench.machine import Busy, describe
from tests.bench.torture_check import Findings, check
from tests.bench.torture_facts import read_ledger, read_log
from tests.bench.torture_fleet import Files, lay_out, probe_id_of, wait_until
from tests.bench.torture_ground import Ground, GroundError, go_inside, lay
from tests.bench.torture_strikes import CoordinatorStriker, DiskStriker, Group, ProbeStriker
from tests.fakes.sound import a_target

STARTED_S: Final = 30.0
DRAIN_S: Final = 90.0
PER_PROCESS: Final = 8
_STALL: Final = re.compile(r"has taken (\d+) s and is not done: the disk stands still")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How hard a run is."""

    seconds: float
    processes: int
    real: int
    rate: float  # rows a second of each simulated probe
    full_s: float
    stall_s: float
    probe_kill_s: float
    kills: tuple[int, int]  # promised: of the coordinator, of probes
    thorough: bool  # trouble with the disk also while killing


FULL: Final = Size(
    seconds=90, processes=3, real=2, rate=100, full_s=5, stall_s=8, probe_kill_s=2.0,
    kills=(40, 30), thorough=True,
)  # fmt: skip
QUICK: Final = Size(
    seconds=18, processes=1, real=1, rate=50, full_s=1.5, stall_s=6.5, probe_kill_s=2.0,
    kills=(4, 3), thorough=False,
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the drill; 1 when something was lost, doubled, missing or wrong, 2 without a disk for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--quick", action="store_true", help="18 s and a third of the fleet")
    parser.add_argument("--no-disk", action="store_true", help="kills alone")
    parser.add_argument(
        "--broken", choices=("nothing", "dedup", "ack"), default="nothing",
        help="with a piece broken on purpose: the drill must fail",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if "--seed" not in argv:
        argv = [*argv, "--seed", str(args.seed)]
    code = go_inside(argv)
    if code is not None:
        return code
    say(f"seed {args.seed}")
    directory = Path(tempfile.mkdtemp(prefix="soundings-torture-"))
    try:
        return _drill(args, directory)
    except GroundError as error:
        say(f"torture: {error}")
        return 2
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _drill(args: argparse.Namespace, directory: Path) -> int:
    size = QUICK if args.quick else FULL
    seconds = args.seconds or size.seconds
    bench = Bench("torture", machine={**describe(), "seed": args.seed, "seconds": seconds})
    busy = Busy.now()
    ground = lay(directory)
    bench.machine["stall"] = "fsfreeze" if ground.can_freeze else "SIGSTOP"
    with a_target() as target:
        simulated = size.processes * PER_PROCESS
        files = lay_out(directory, ground.path, simulated=simulated, real=size.real, target=target)
        run = _Run(args, size, seconds, files, ground)
        try:
            run.strike()
            run.drain()
        finally:
            run.kill_all()
    _promise(bench, size, disk=not args.no_disk)
    run.tell(bench)
    busy.since(bench)
    return bench.finish()


def _promise(bench: Bench, size: Size, *, disk: bool) -> None:
    for name in ("lost", "doubled", "gaps", "wrong", "rejected", "evicted", "undrained", "damage"):
        bench.require(name, "==", 0)
    bench.require("coordinator_kills", ">=", size.kills[0])
    bench.require("probe_kills", ">=", size.kills[1])
    if disk:
        bench.require("full_disk_told", ">=", 1)
        bench.require("full_disk_recovery_s", "<=", 5)
        bench.require("restarts_needed", "==", 0)
        if bench.machine["stall"] == "fsfreeze":  # else no write need be under way
            bench.require("stalled_write_ms_max", ">=", 800 * size.stall_s)
            bench.require("stalled_disk_told", ">=", 1)


class _Run:
    """One drill, from the first strike to the last count."""

    def __init__(
        self, args: argparse.Namespace, size: Size, seconds: float, files: Files, ground: Ground
    ) -> None:
        self._args = args
        self._size = size
        self._seconds = seconds
        self._files = files
        self._coordinator = CoordinatorStriker(files, args.seed, args.broken)
        self._groups = _groups(files)
        self._probes = ProbeStriker(
            self._groups, seed=args.seed, rate=size.rate, every_s=size.probe_kill_s
        )
        self._disk = DiskStriker(ground, self._coordinator, files)
        self._evicted = 0
        self._undrained = 0

    def strike(self) -> None:
        """Kill and trouble until the time is over."""
        began_s = time.monotonic()
        self._coordinator.start()
        if not self._coordinator.started.wait(STARTED_S):
            raise GroundError(
                f"no coordinator starts: {_last_line(self._files.logs / 'coordinator')}"
            )
        self._probes.start()
        if not self._args.no_disk:
            self._trouble(began_s)
        _sleep_until(began_s + self._seconds)
        self._probes.end.set()
        self._probes.join()
        self._coordinator.spare.set()
        self._coordinator.spared.wait(60)
        self._coordinator.end.set()
        self._coordinator.join()
        say(f"struck for {time.monotonic() - began_s:.0f} s: {dict(self._coordinator.kills)}")

    def _trouble(self, began_s: float) -> None:
        size, disk = self._size, self._disk
        plan = [
            (0.15, "full", size.full_s, True),
            (0.35, "full", size.full_s, False),
            (0.55, "stall", size.stall_s, True),
            (0.75, "stall", size.stall_s, False),
        ]
        for share, what, seconds, spare in plan:
            if spare or size.thorough:
                _sleep_until(began_s + share * self._seconds)
                say(f"{what} disk for {seconds:g} s, coordinator {'spared' if spare else 'killed'}")
                (disk.fill if what == "full" else disk.stall)(seconds, spare=spare)

    def drain(self) -> None:
        """Let every spool empty, then end everything in order."""
        began_s = time.monotonic()
        drainers = [threading.Thread(target=self._drain_group, args=(g,)) for g in self._groups]
        for drainer in drainers:
            drainer.start()
        for drainer in drainers:
            drainer.join()
        process = self._coordinator.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        say(f"drained in {time.monotonic() - began_s:.1f} s; the coordinator ended with {code}")
        self._undrained += code != 0

    def _drain_group(self, group: Group) -> None:
        process = group.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(DRAIN_S, process.kill)
        watch.start()
        if group.real:
            self._undrained += not wait_until(lambda: _is_fresh(group.states[0]), within_s=DRAIN_S)
            process.send_signal(signal.SIGTERM)
            process.wait()
        else:
            process.stdin.write("drain\n")
            process.stdin.flush()
            told = process.stdout.read().split("\n")  # `up`, then the answer
            if len(told) < 3:
                self._undrained += 1
            else:
                self._evicted += json.loads(told[1])["evicted_rows"]
            process.wait()
        watch.cancel()

    def kill_all(self) -> None:
        """Leave no process behind, however the drill ended."""
        self._probes.end.set()
        self._coordinator.end.set()
        for striker in (self._probes, self._coordinator):
            if striker.ident is not None:
                striker.join()
        for process in (*(group.process for group in self._groups), self._coordinator.process):
            if process is not None:
                process.kill()
                process.wait()

    def tell(self, bench: Bench) -> None:
        """Every figure."""
        found = self._check()
        for example in found.examples[:10]:
            say(example)
        kills = self._coordinator.kills
        rows = ("stored", "ledger", "kept", "lost", "doubled", "wrong", "rejected")
        for name in rows:
            _add(bench, name, getattr(found, name), "rows")
        _add(bench, "gaps", found.gaps, "reports")
        damage = check_store(self._files.data / "soundings.duckdb")
        for one in damage:
            say(f"{one.name}: {one.sentence}: {', '.join(one.examples)}")
        _add(bench, "damage", len(damage), "kinds")
        _add(bench, "epochs", found.epochs, "epochs")
        _add(bench, "evicted", self._evicted, "rows")
        _add(bench, "undrained", self._undrained, "processes")
        _add(bench, "coordinator_kills", kills.total(), "kills")
        for where in ("before_commit", "after_commit"):
            _add(bench, f"coordinator_kills_{where}", kills[where], "kills")
        _add(bench, "coordinator_failed_starts", self._coordinator.failed_starts, "starts")
        _add(bench, "probe_kills", self._probes.kills, "kills")
        _add(bench, "probes_ended", self._probes.ended, "processes")
        if not self._args.no_disk:
            self._tell_trouble(bench)
        self._tell_commits(bench)

    def _tell_trouble(self, bench: Bench) -> None:
        full, stalled = self._disk.full, self._disk.stalled
        say(f"full disk, as told: {sorted(set(full.troubles))}; in /metrics: {full.metric}")
        say(f"stalled disk, as told: {sorted(set(stalled.troubles))}; answers {stalled.answers_s}")
        _add(bench, "full_disk_told", bool(full.troubles) and full.metric, "yes")
        _add(bench, "full_disk_recovery_s", max(full.recovered_s), "s")
        _add(bench, "stalled_disk_told", any(map(stall_told_s, stalled.troubles)), "yes")
        _add(bench, "restarts_needed", full.restarts + stalled.restarts, "restarts")

    def _tell_commits(self, bench: Bench) -> None:
        lines = self._files.times.read_text(encoding="ascii").split("\n")[:-1]
        commits = [tuple(map(int, line.split())) for line in lines]
        usual = [c for c in commits if not any(a <= c[0] <= b for a, b in self._disk.windows)]
        took_ms = [took_us / 1000 for _, took_us, _ in usual]
        troubled_ms = [c[1] / 1000 for c in commits if c not in usual]
        # A commit of reports, or what else the writer was at: counting, judging.
        told_ms = [1000.0 * stall_told_s(text) for text in self._disk.stalled.troubles]
        _add(bench, "stalled_write_ms_max", max([*troubled_ms, *told_ms], default=0.0), "ms")
        _add(bench, "commits", len(commits), "commits")
        _add(bench, "commit_ms_p99", percentile(took_ms, 0.99), "ms")
        _add(bench, "commit_ms_max", max(took_ms), "ms")

    def _check(self) -> Findings:
        files = self._files
        states = {probe_id_of(state): state for state in (*files.states, *files.real)}
        simulated = {probe_id_of(state) for state in files.states}
        ledgers = {
            probe_id: read_ledger(state / "ledger")
            if probe_id in simulated
            else read_log(state / "log")
            for probe_id, state in states.items()
        }
        return check(
            files.data / "soundings.duckdb",
            seed=self._args.seed,
            ledgers=ledgers,
            simulated=simulated,
            spools={probe_id: state / "spool" for probe_id, state in states.items()},
        )


def _groups(files: Files) -> list[Group]:
    groups = [
        Group(files.states[i : i + PER_PROCESS], real=False, log=files.logs / f"probes{i}")
        for i in range(0, len(files.states), PER_PROCESS)
    ]
    return groups + [Group([state], real=True, log=state / "log") for state in files.real]


def _is_fresh(state: Path) -> bool:
    """Does the spool hold nothing of an earlier process, and little of this one?"""
    found = [parse_segment_name(path.name) for path in (state / "spool").glob("*.seg")]
    return len({name[0] for name in found if name is not None}) <= 1


def stall_told_s(trouble: str) -> int:
    """For how long a sentence of /healthz says that a write has been under way; 0 = it says no such thing."""
    found = _STALL.search(trouble)
    return 0 if found is None else int(found[1])


def _last_line(log: Path) -> str:
    return (log.read_text(encoding="utf-8", errors="replace").splitlines() or [""])[-1]


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))


def _add(bench: Bench, name: str, value: float, unit: str) -> None:
    bench.add(name, over_rounds([float(value)], unit))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
