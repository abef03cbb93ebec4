"""Who strikes at what: each striker has a thread and dice of its own, all from the drill's seed.

The dice are the same in every run of a seed; the instants they fall on are the machine's.
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.contract import say
from tests.bench.torture_fleet import (
    Files,
    start_coordinator,
    start_real,
    start_simulated,
    wait_until,
)
from tests.bench.torture_ground import Ground

READY_S: Final = 60.0
STRUCK_WITHIN_S: Final = 1.5
"""A fault that met no commit in this time is replaced by a plain kill."""

RECOVERY_S: Final = 30.0


class CoordinatorStriker(threading.Thread):
    """Starts the coordinator as a supervisor does, and kills it: anywhere, or inside a commit."""

    def __init__(self, files: Files, seed: int, broken: str) -> None:
        super().__init__(daemon=True)
        self._files = files
        self._broken = broken
        self._chance = random.Random(f"{seed}/coordinator")
        self.kills: Counter[str] = Counter()
        self.failed_starts = 0
        self.spare = threading.Event()  # kill no more for now
        self.spared = threading.Event()  # it runs, unharmed
        self.started = threading.Event()  # one came up
        self.end = threading.Event()
        self.process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Until `end`; then the last one is left running."""
        while not self.end.is_set():
            self._live()

    def _live(self) -> None:
        fault = self._chance.choice(("before_commit", "after_commit", "none"))
        count, wait_s = self._chance.randrange(1, 6), self._chance.uniform(0.05, 0.8)
        if self.spare.is_set():
            fault = "none"
        files, broken = self._files, self._broken
        process = start_coordinator(files, fault=fault, count=count, broken=broken)
        self.process = process
        assert process.stdout is not None
        if not process.stdout.readline():
            self.failed_starts += 1
            process.wait()
            time.sleep(0.3)
            return
        self.started.set()
        if fault == "none" and not self.spare.is_set():
            wait_until(self.spare.is_set, within_s=wait_s)
        elif fault != "none":
            wait_until(lambda: process.poll() is not None, within_s=STRUCK_WITHIN_S)
        self._spare_while_asked(process)
        if not self.end.is_set():
            self._kill(process, fault)

    def _spare_while_asked(self, process: subprocess.Popen[str]) -> None:
        """A coordinator with a fault in it is none to be spared."""
        armed = process.args[-4] != "none"  # type: ignore[index]
        while (
            self.spare.is_set() and not armed and process.poll() is None and not self.end.is_set()
        ):
            self.spared.set()
            time.sleep(0.02)
        self.spared.clear()

    def _kill(self, process: subprocess.Popen[str], fault: str) -> None:
        struck = process.poll()
        self.kills[fault if struck == -signal.SIGKILL else "anywhere"] += 1
        if struck not in {None, -signal.SIGKILL}:
            say(f"the coordinator ended by itself with {struck}")
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@dataclass(slots=True)
class Group:
    """One process of probes: how to start it, and the one that runs."""

    states: Sequence[Path]
    real: bool
    log: Path
    process: subprocess.Popen[str] | None = None

    def start(self, seed: int, rate: float) -> None:
        """Start it."""
        if self.real:
            self.process = start_real(self.states[0])
        else:
            self.process = start_simulated(seed, rate, self.states, self.log)

    def kill(self) -> None:
        """As kill -9 does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


class ProbeStriker(threading.Thread):
    """Kills processes of probes and starts them again at once."""

    def __init__(self, groups: Sequence[Group], *, seed: int, rate: float, every_s: float) -> None:
        super().__init__(daemon=True)
        self._groups = groups
        self._seed = seed
        self._rate = rate
        self._every_s = every_s
        self._chance = random.Random(f"{seed}/probes")
        self.kills = 0
        self.ended = 0  # by themselves
        self.end = threading.Event()

    def run(self) -> None:
        """Until `end`."""
        for group in self._groups:
            group.start(self._seed, self._rate)
        while not self.end.wait(self._every_s * self._chance.uniform(0.5, 1.5)):
            group = self._chance.choice(self._groups)
            assert group.process is not None
            self.ended += group.process.poll() is not None
            group.kill()
            self.kills += 1
            group.start(self._seed, self._rate)


COMMIT_WITHIN_S: Final = 20.0
"""Without a commit in this time the stall finds none under way, which the bench then says."""


@dataclass(slots=True)
class Seen:
    """What the operator could see while the disk was in trouble."""

    troubles: list[str] = field(default_factory=list)
    metric: bool = False
    answers_s: list[float] = field(default_factory=list)
    recovered_s: list[float] = field(default_factory=list)
    restarts: int = 0


class DiskStriker:
    """Fills the disk and stops it, with the coordinator spared (it must come back) or not."""

    def __init__(self, ground: Ground, coordinator: CoordinatorStriker, files: Files) -> None:
        self._ground = ground
        self._coordinator = coordinator
        self._web = files.doors.web
        self._times = files.times
        self.windows: list[
            tuple[int, int]
        ] = []  # wall, us: what happened in them is not the disk's usual
        self.full = Seen()
        self.stalled = Seen()

    def fill(self, seconds: float, *, spare: bool) -> None:
        """A full disk for so long."""
        with self._trouble(spare, self.full) as seen:
            self._ground.fill()
            self._watch(seconds, seen)
            self._ground.free()

    def stall(self, seconds: float, *, spare: bool) -> None:
        """A disk that does not answer for so long."""
        self._await_commit()
        with self._trouble(spare, self.stalled) as seen:
            if self._ground.can_freeze:
                thaw = self._ground.freeze(seconds)
                self._watch(seconds, seen)
                thaw.wait()
            else:
                self._stop_writer(seconds)

    def _await_commit(self) -> None:
        """Wait until reports come again: after a trouble probes stay away for up to 10 s."""
        before, end_s = self._times.stat().st_size, time.monotonic() + COMMIT_WITHIN_S
        while self._times.stat().st_size == before and time.monotonic() < end_s:
            time.sleep(0.05)

    def _stop_writer(self, seconds: float) -> None:
        process = self._coordinator.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def _trouble(self, spare: bool, seen: Seen) -> _Trouble:
        return _Trouble(self, self._coordinator, seen, spare)

    def _watch(self, seconds: float, seen: Seen) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            began_s = time.monotonic()
            health = self.ask("/healthz")
            if health is not None:
                seen.answers_s.append(time.monotonic() - began_s)
                told = json.loads(health)
                if not told["ok"]:
                    seen.troubles.append(told["trouble"])
                    seen.metric |= "soundings_store_trouble 1" in (self.ask("/metrics") or "")
            time.sleep(0.1)

    def is_well(self) -> bool:
        """Does the coordinator say so?"""
        health = self.ask("/healthz")
        return health is not None and bool(json.loads(health)["ok"])

    def ask(self, path: str) -> str | None:
        """What the page answers, whatever its status; None when nobody does."""
        page = http.client.HTTPConnection("127.0.0.1", self._web, timeout=5)
        try:
            page.request("GET", path)
            return page.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            page.close()


class _Trouble:
    """Around a trouble: spares the coordinator if asked to, and sees it recover as it is."""

    def __init__(
        self, striker: DiskStriker, coordinator: CoordinatorStriker, seen: Seen, spare: bool
    ) -> None:
        self._striker = striker
        self._coordinator = coordinator
        self._seen = seen
        self._spare = spare
        self._began_us = 0
        self._pid = 0

    def __enter__(self) -> Seen:
        if self._spare:
            self._coordinator.spare.set()
            self._coordinator.spared.wait(READY_S)
            self._pid = _pid(self._coordinator)
        self._began_us = time.time_ns() // 1000
        return self._seen if self._spare else Seen()

    def __exit__(self, *_: object) -> None:
        ended_s = time.monotonic()
        if self._spare:
            wait_until(self._striker.is_well, within_s=RECOVERY_S, look_s=0.05)
            self._seen.recovered_s.append(time.monotonic() - ended_s)
            self._seen.restarts += _pid(self._coordinator) != self._pid
            self._coordinator.spare.clear()
        self._striker.windows.append((self._began_us, time.time_ns() // 1000 + 1_000_000))


def _pid(coordinator: CoordinatorStriker) -> int:
    return coordinator.process.pid if coordinator.process is not None else 0
