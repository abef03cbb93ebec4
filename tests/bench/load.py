"""How much one core carries: the mixed load, what a check costs beside blackbox_exporter, echoes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.blackbox import drive, running_blackbox
from tests.bench.contract import Bench, over_rounds, percentile, say
from tests.bench.ground import Ground
from tests.bench.running import ROOT, run_vantage
from tests.bench.workload import PEER_BLOCK, Findings, Workload, mixed

PROMISED_PER_S: Final = 1800.0
RATES: Final = (PROMISED_PER_S, 2000.0, 2200.0, 2400.0, 2700.0, 3000.0)
"""Tried upwards until one is not carried."""

LATENESS_MS: Final = 30.0
SHARED_PER_S: Final = 1500.0
"""The load under which accuracy is promised; blackbox_exporter carries it too."""

ECHOES_PER_S: Final = {1: 6000.0, 3: 9000.0}
"""By echoes in a slot: under what a core carries, so that nothing is given up."""

ECHO_SLOTS_AT_ONCE: Final = 5000
FPING_TARGETS: Final = 4000


@dataclass(frozen=True, slots=True)
class Carried:
    """One run at one rate."""

    per_s: float  # of the slots that fell due, those that were run
    lateness_p50_ms: float
    lateness_p99_ms: float
    failed: int
    given_up: int  # slots not run
    cpu_us: float  # per check
    rss_mb: float

    @property
    def holds(self) -> bool:
        """Whether the rate was carried: in time, whole, and without a false failure."""
        return self.lateness_p99_ms < LATENESS_MS and not self.failed and not self.given_up


def carried(found: Findings) -> Carried:
    """What a run comes to."""
    run, due = found.run, found.due
    late_ms = [(row.lateness_us or 0) / 1000 for row in run]
    failures = Counter(row.failure for row in run if row.failure is not None)
    if failures:
        say(f"false failures: {dict(failures)}")
    return Carried(
        per_s=sum(row.reason is None for row in due) / found.seconds,
        lateness_p50_ms=percentile(late_ms, 0.5),
        lateness_p99_ms=percentile(late_ms, 0.99),
        failed=failures.total(),
        given_up=sum(row.reason is not None for row in due),
        cpu_us=found.cpu_s * 1e6 / len(run),
        rss_mb=found.rss_bytes / 1e6,
    )


def _carry(ground: Ground, per_s: float, *, seconds: float) -> Carried:
    # Every check once in the warm-up and twice in the time: what a probe remembers it has met, and
    # exactly so many slots fall due, whatever the phases.
    interval_s = seconds / 2
    work = Workload(
        per_s=mixed(per_s), seconds=seconds, warmup_s=interval_s + 1, interval_s=interval_s
    )
    found = run_vantage(ground, work)
    if found is None:
        raise RuntimeError("the mixed load could not be run; the vantage's words are above")
    return carried(found)


def measure_mixed(
    bench: Bench, ground: Ground, *, rates: Sequence[float], rounds: int, seconds: float
) -> None:
    """The promised rate in every round, and above it the highest that is carried."""
    promised: list[Carried] = []
    best: list[float] = []
    for number in range(rounds):
        say(f"mixed load: round {number + 1} of {rounds}")
        tried = _climb(ground, rates, seconds=seconds)
        promised.append(tried[0])
        best.append(max((one.per_s for one in tried if one.holds), default=0.0))
    bench.add("mixed_carried", over_rounds(best, "checks/s"))
    bench.add("mixed_done", over_rounds([one.per_s for one in promised], "checks/s"))
    for word, values in (
        ("p50", [one.lateness_p50_ms for one in promised]),
        ("p99", [one.lateness_p99_ms for one in promised]),
    ):
        bench.add(f"mixed_lateness_{word}", over_rounds(values, "ms"))
    bench.add("mixed_false_failures", over_rounds([max(one.failed for one in promised)], "checks"))
    bench.add("mixed_given_up", over_rounds([one.given_up for one in promised], "slots"))
    bench.add("mixed_cpu", over_rounds([one.cpu_us for one in promised], "us/check"))
    bench.add("mixed_rss", over_rounds([one.rss_mb for one in promised], "MB"))


def _climb(ground: Ground, rates: Sequence[float], *, seconds: float) -> list[Carried]:
    tried: list[Carried] = []
    for rate in rates:
        tried.append(_carry(ground, rate, seconds=seconds))
        one = tried[-1]
        say(
            f"  {rate:.0f}/s: {one.per_s:.0f} done, p99 {one.lateness_p99_ms:.1f} ms late, "
            f"{one.failed} failed, {one.given_up} given up, {one.cpu_us:.0f} us each"
        )
        if not one.holds:
            break
    return tried


def measure_beside_blackbox(
    bench: Bench, ground: Ground, *, program: Path, rounds: int, seconds: float
) -> None:
    """CPU per mixed check of both, in turn, at one rate on one core."""
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        say(f"beside blackbox_exporter: round {number + 1} of {rounds}")
        ours.append(_carry(ground, SHARED_PER_S, seconds=seconds).cpu_us)
        with running_blackbox(ground, program) as process:
            probed = drive(ground, per_s=SHARED_PER_S, seconds=seconds, process=process)
        if probed.failed:
            raise RuntimeError(f"blackbox_exporter called {probed.failed} good targets bad")
        theirs.append(probed.cpu_s * 1e6 / probed.checks)
        say(f"  ours {ours[-1]:.0f}, theirs {theirs[-1]:.0f} us ({probed.seconds:.1f} s)")
    peer = over_rounds(theirs, "us/check")
    bench.add(
        "mixed_cpu_shared_rate", over_rounds(ours, "us/check", peers={"blackbox_exporter": peer})
    )
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    bench.add("mixed_cpu_of_blackbox", over_rounds(ratios, "of blackbox_exporter's"))


def measure_echoes(bench: Bench, ground: Ground, *, rounds: int, seconds: float) -> None:
    """Echo requests per second of one core's time, through the whole engine, beside fping's."""
    single: list[float] = []
    triple: list[float] = []
    bare: list[float] = []
    fping: list[float] = []
    for number in range(rounds):
        say(f"echoes: round {number + 1} of {rounds}")
        single.append(_echoes_per_core(ground, packets=1, seconds=seconds))
        triple.append(_echoes_per_core(ground, packets=3, seconds=seconds))
        bare.append(_bare_per_core(ground, seconds=seconds))
        fping.append(_fping_per_core(ground))
        say(
            f"  {single[-1]:.0f}/s alone, {triple[-1]:.0f}/s by threes, "
            f"{bare[-1]:.0f}/s without the engine, fping {fping[-1]:.0f}/s"
        )
    peers = {"fping": over_rounds(fping, "echoes/s")}
    bench.add("icmp_socket_echoes_per_core", over_rounds(bare, "echoes/s"))
    bench.add("icmp_single_echoes_per_core", over_rounds(single, "echoes/s"))
    bench.add("icmp_echoes_per_core", over_rounds(triple, "echoes/s", peers=peers))


def _echoes_per_core(ground: Ground, *, packets: int, seconds: float) -> float:
    """What counts is done per CPU second: a neighbour on the core takes time, not work."""
    work = Workload(
        per_s={"icmp": ECHOES_PER_S[packets] / packets},
        seconds=seconds,
        warmup_s=2.0,
        interval_s=1.0,
        packets=packets,
        concurrent=ECHO_SLOTS_AT_ONCE,
    )
    found = run_vantage(ground, work)
    if found is None:
        raise RuntimeError("the echoes could not be run; the vantage's words are above")
    return sum(row.sent for row in found.run if row.failure is None) / found.cpu_s


def _bare_per_core(ground: Ground, *, seconds: float) -> float:
    process = ground.popen(
        [sys.executable, "-m", "tests.bench.pinger", str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    output, _ = process.communicate(timeout=seconds + 60)
    if process.returncode:
        raise RuntimeError("the shared socket alone failed; its traceback is above")
    told = json.loads(output)
    if told["lost"]:
        say(f"  the shared socket alone lost {told['lost']} of {told['answered']} echoes")
    return float(told["answered"]) / float(told["cpu_s"])


def _fping_per_core(ground: Ground) -> float:
    """Five echoes to each of many targets, as fast as fping goes."""
    listed = ground.directory / "fping.txt"
    targets = [f"10.{PEER_BLOCK + 2}.{n // 250}.{n % 250 + 1}" for n in range(FPING_TARGETS)]
    listed.write_text("\n".join(targets) + "\n", encoding="ascii")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = ground.popen(
        ["fping", "-q", "-i0", "-c5", "-p1000", "-f", str(listed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process.wait(60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return 5 * FPING_TARGETS / spent_s
