"""`soundings demo`: a small internet, an incident on it, and what the coordinator makes of it.

The steps are those of a real day, shortened. Probes measure a platform and its surroundings while all
is well; then something happens (by default: an announced live event brings more people than the live
component can take); the coordinator's own loop judges bin after bin; and at the end the commands that
anybody would use on the closed database are run on it: `soundings verdict`, `soundings adjudicate`.
What they print is compared with what was done to the world.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from deploy.lab.catalogue import SERVICE
from deploy.lab.delay import start_delays
from deploy.lab.demo_report import Finding, compare, compare_around, render
from deploy.lab.faults.base import wall_clock_us
from deploy.lab.ground import Ground, LoopbackGround, NamespaceGround
from deploy.lab.internet import internet
from deploy.lab.network import Network
from deploy.lab.relay import page_url
from deploy.lab.scenario import Scenario
from deploy.lab.services import LabError
from deploy.lab.world import World, open_world

#: After the watch, how long to wait until the live verdict covers its end: watermark, a bin, slack.
LIVE_VERDICT_S: Final = 12.0
COMMAND_TIMEOUT_S: Final = 60.0
#: The window given to the commands begins so many bins before the announced start.
LEAD_BINS: Final = 2
#: Probes per access network in the loopback world: fewer than in the lab, because it stands in where little is allowed.
#: Runnable programs per core beyond which the lab's own delays show in what is measured.
BUSY_PER_CORE: Final = 4.0
LOOPBACK_VANTAGES: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line of the demo."""

    scenario: Scenario
    world: str  # namespaces or loopback
    leave: bool
    as_json: bool
    keep: Path | None
    listener: socket.socket | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came out: the commands' answers and the comparison."""

    verdict: dict[str, Any]
    whole: dict[str, Any]  # the verdict on the service as a whole
    sheet: dict[str, Any]
    truth: dict[str, Any]
    findings: list[Finding]

    @property
    def agrees(self) -> bool:
        return all(finding.agrees for finding in self.findings)


class Said:
    """Progress on standard error, with seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:5.1f} s] {text}", file=sys.stderr, flush=True)


def run_demo(asked: Asked) -> int:
    """Run the whole of it; 0 when the verdict agrees with the truth, else 1."""
    say = Said()
    say(f"scenario {asked.scenario.name}: {asked.scenario.title}")
    with (
        _directory(asked.keep) as directory,
        _ground(asked, say) as ground,
        open_world(asked.scenario, ground, directory, say=say) as world,
    ):
        judged = _play(world, asked, say)
        _print(asked, ground, judged)
        _doubt_the_machine(judged, say)
        if not asked.leave:
            _stay(world, asked, say)
    return 0 if judged.agrees else 1


def _play(world: World, asked: Asked, say: Callable[[str], None]) -> Judged:
    scenario = world.scenario
    if asked.listener is not None:
        world.open_page(asked.listener)
        say(f"page: {page_url(asked.listener)}")
    say(f"all is well: measuring for {scenario.quiet_s:g} s")
    world.follow(scenario.quiet_s, say)
    announced = _now()
    say(f"watching for {scenario.watch_s:g} s")
    world.follow(scenario.quiet_s + scenario.watch_s, say)
    ended = _now()
    _await_live_verdict(world, ended, say)
    incidents = world.get("/api/incidents")
    say(f"incidents raised by the coordinator: {len(incidents)}")
    say("stopping the probes and draining the coordinator, to judge the closed database")
    world.fleet.stop()
    code = world.stop_coordinator()
    if code != 0:
        raise LabError(f"the coordinator ended with {code}:\n{world.coordinator.log_tail()}")
    return _judge(world, announced, ended, incidents)


def _await_live_verdict(world: World, ended: datetime, say: Callable[[str], None]) -> None:
    """Wait for the coordinator's own verdict over the end of the watch, and say each change."""
    deadline = time.monotonic() + LIVE_VERDICT_S
    last_bin = ended.timestamp() - 2 * world.scenario.bin_s
    said = ""
    while time.monotonic() < deadline:
        newest = _newest_live_verdict(world)
        if newest is not None:
            if newest["class"] != said:
                said = newest["class"]
                say(f"live verdict: {newest['sentence']}")
            if datetime.fromisoformat(newest["window"][1]).timestamp() >= last_bin:
                return
        world.look_after()
        time.sleep(0.5)


def _newest_live_verdict(world: World) -> dict[str, Any] | None:
    component = world.scenario.truth.component
    verdicts: list[dict[str, Any]] = world.get(
        f"/api/verdicts?service={SERVICE}&component={component}"
    )
    return max(verdicts, key=lambda verdict: str(verdict["window"][1]), default=None)


def _judge(
    world: World, announced: datetime, ended: datetime, incidents: list[dict[str, Any]]
) -> Judged:
    expected = world.scenario.truth
    window = _window(world, announced, ended)
    component = ["--component", expected.component]
    questions = [
        ["verdict", "--service", SERVICE, *window],
        ["verdict", "--service", SERVICE, *component, *window],
        ["adjudicate", "--claim", "ddos", "--service", SERVICE, *component, *window],
    ]
    (whole,), (verdict,), sheet = _soundings(questions)
    truth = world.truth()
    findings = compare(truth, verdict, sheet, claims=expected.claims, bin_s=world.scenario.bin_s)
    findings += compare_around(expected, whole, incidents)
    return Judged(verdict=verdict, whole=whole, sheet=sheet, truth=truth, findings=findings)


def _now() -> datetime:
    return datetime.fromtimestamp(wall_clock_us() / 1e6, tz=UTC)


def _window(world: World, announced: datetime, ended: datetime) -> list[str]:
    lead = timedelta(seconds=LEAD_BINS * world.scenario.bin_s)
    begin, end = (stamp.isoformat().replace("+00:00", "Z") for stamp in (announced - lead, ended))
    return ["--from", begin, "--to", end, "--db", str(world.database), "--json"]


def _soundings(questions: list[list[str]]) -> list[Any]:
    """Run commands of ours side by side, as anybody would, and read their JSON.

    Exit code 1 is an unwelcome answer and still an answer.
    """
    running = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parents[2] / "soundings.py"), *question],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for question in questions
    ]
    answers = []
    for question, process in zip(questions, running, strict=True):
        out, complaint = process.communicate(timeout=COMMAND_TIMEOUT_S)
        if process.returncode not in {0, 1} or not out:
            shown = " ".join(["soundings", *question])
            raise LabError(f"{shown} ended with {process.returncode}:\n{complaint}")
        answers.append(json.loads(out))
    return answers


def _print(asked: Asked, ground: Ground, judged: Judged) -> None:
    text = render(judged.truth, judged.verdict, judged.sheet, judged.findings)
    print(text, file=sys.stderr if asked.as_json else sys.stdout, flush=True)
    if asked.as_json:
        whole = {
            "verdict": judged.verdict,
            "service": judged.whole,
            "claim": judged.sheet,
            "truth": judged.truth,
            "agrees": judged.agrees,
            "world": ground.name,
        }
        print(json.dumps(whole), flush=True)


def _doubt_the_machine(judged: Judged, say: Callable[[str], None]) -> None:
    """Two dozen probes and their targets share this machine: when it is late, everything is."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if not judged.agrees and load > BUSY_PER_CORE * cores:
        say(
            f"this machine was busy (load {load:.0f} on {cores} cores): what was measured may be "
            "its own delay; run the demo again when nothing else runs"
        )


def _stay(world: World, asked: Asked, say: Callable[[str], None]) -> None:
    """Let the world go on with its page until Ctrl-C; the faults end, so recovery can be seen."""
    world.start_coordinator()
    world.fleet.start_all()
    world.clear_faults()
    # Both by name: whoever is started in the background by a script is born deaf to Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    where = f"page open at {page_url(asked.listener)}; " if asked.listener else ""
    with contextlib.suppress(KeyboardInterrupt):
        say(f"the faults have ended and the world goes on; {where}Ctrl-C ends it")
        while True:
            world.look_after()
            time.sleep(1)
    say("ending")


@contextlib.contextmanager
def _ground(asked: Asked, say: Callable[[str], None]) -> Iterator[Ground]:
    if asked.world == "loopback":
        topology = internet(vantages_per_access=LOOPBACK_VANTAGES, crowd=1)
        say(f"loopback world: {len(topology.vantages)} probes, addresses in 127.64.0.0/16")
        yield LoopbackGround(topology)
        return
    with Network(internet()) as network:
        delays = start_delays(network, seed=asked.scenario.seed)
        topology = network.topology
        countries = {topology.machine(vantage).country for vantage in topology.vantages}
        access = {topology.machine(vantage).asn for vantage in topology.vantages}
        say(
            f"internet up: {len(topology.machines)} machines, {len(topology.vantages)} vantages in "
            f"{len(access)} access networks and {len(countries)} countries"
            + ("" if delays.missing is None else f"; without distances: {delays.missing}")
        )
        yield NamespaceGround(network)


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """The world's files: kept where asked, or when something went wrong, else removed."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise LabError(f"{keep}: this directory is not empty; name a new one with --keep")
        yield keep.resolve()
        return
    directory = Path(tempfile.mkdtemp(prefix="soundings-demo-"))
    try:
        yield directory
    except LabError as error:
        raise LabError(f"{error}\n(files of this run: {directory})") from error
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)
