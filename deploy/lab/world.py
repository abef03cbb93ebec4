"""A whole world: an internet, what is served on it, a coordinator, a fleet of probes, and faults.

    with open_world(scenario, ground, directory) as world:
        world.run_faults(...)
    world.truth()

Everything that runs is a process of its own with real sockets; this process only starts, watches and
stops them, and keeps the timetable. It stays single-threaded, because it forks.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.lab.faults.base import Fault, wall_clock_us
from deploy.lab.fleet_config import write_coordinator_config
from deploy.lab.ground import Ground
from deploy.lab.incidents import make_fault
from deploy.lab.relay import relay
from deploy.lab.scenario import Planned, Scenario
from deploy.lab.services import LabError, Running, launch, launch_program, stop_all, wait_until
from deploy.lab.services_up import Services, start_services
from deploy.lab.tokens import create_tokens
from deploy.lab.topology import Part
from deploy.lab.zygote import Fleet, preload

COORDINATOR_READY_S: Final = 30.0
FLEET_READY_S: Final = 45.0
#: A drained coordinator commits what it has; 24 probes leave it a few thousand rows at the most.
DRAIN_S: Final = 20.0
API_TIMEOUT_S: Final = 5.0
TICK_S: Final = 0.1


@dataclass(slots=True)
class World:
    """What is up, and the faults in force."""

    scenario: Scenario
    ground: Ground
    directory: Path
    services: Services
    coordinator: Running
    fleet: Fleet
    coordinator_since_us: int  # by the wall clock: when it was last started
    began_at: float = 0.0  # monotonic: when the whole fleet was measuring
    faults: list[tuple[Planned, Fault]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The coordinator's data directory."""
        return self.directory / "data"

    @property
    def database(self) -> Path:
        return self.data / "soundings.duckdb"

    @property
    def machine(self) -> str:
        """The machine that the coordinator runs on."""
        return self.ground.topology.names(Part.COORDINATOR)[0]

    def get(self, path: str) -> Any:
        """JSON from the coordinator's page, asked on its own machine."""
        address = self.ground.addresses(self.machine)[0]
        with self.ground.place(self.machine).inside():
            sock = socket.socket()
        sock.settimeout(API_TIMEOUT_S)
        connection = http.client.HTTPConnection(address, self.ground.ports.web)
        try:
            sock.connect((address, self.ground.ports.web))
            connection.sock = sock
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
        finally:
            sock.close()
        if reply.status != http.HTTPStatus.OK:
            raise LabError(f"GET {path}: {reply.status} {body[:200]!r}")
        return json.loads(body)

    def start_coordinator(self) -> None:
        """Start the coordinator, for the first time or after it was killed."""
        self.coordinator_since_us = wall_clock_us()
        self.coordinator = _start_coordinator(self.ground, self.directory)

    def stop_coordinator(self) -> int:
        """Let the coordinator drain and end; its exit code."""
        return self.coordinator.stop(DRAIN_S)

    def open_page(self, listener: socket.socket) -> None:
        """Relay the page to a listener that was opened outside."""
        address, port = self.ground.addresses(self.machine)[0], self.ground.ports.web
        place = self.ground.place(self.machine)
        log = self.directory / "relay.log"
        relaying = launch(place, lambda: relay(listener, address, port), name="relay", log=log)
        self.services.others.append(relaying)

    def follow(self, until_s: float, say: Callable[[str], None]) -> None:
        """Keep the timetable until `until_s` seconds after the fleet was up."""
        due = {
            self.began_at + self.scenario.quiet_s + planned.at_s: planned
            for planned in self.scenario.faults
            if planned not in [known for known, _ in self.faults]
        }
        while (now := time.monotonic()) < self.began_at + until_s:
            for at in [at for at in due if at <= now]:
                self._apply(due.pop(at), say)
            self._clear_ended(now, say)
            self.look_after()
            time.sleep(TICK_S)

    def look_after(self) -> None:
        """`LabError` when something that must run has ended by itself."""
        for running in (*self.services.running(), self.coordinator):
            if not running.alive() and running.exit_code not in _WANTED_ENDS:
                raise LabError(f"{running.name} ended by itself:\n{running.log_tail()}")

    def clear_faults(self) -> None:
        for _, fault in self.faults:
            fault.clear()

    def truth(self) -> dict[str, Any]:
        """What was done to this world, for whoever compares a verdict with it."""
        expected = self.scenario.truth
        applied = [fault.truth for _, fault in self.faults]
        return {
            "scenario": self.scenario.name,
            "class": applied[0].verdict_class if applied else "healthy",
            "accepted_classes": list(expected.classes),
            "service": "x",
            "component": expected.component if applied else None,
            "onset_at": _stamp(applied[0].began_at_us) if applied else None,
            "end_at": _stamp(applied[0].ended_at_us) if applied else None,
            "faults": [
                {
                    "class": truth.verdict_class,
                    "where": truth.where,
                    "mechanism": truth.mechanism,
                    "vantages": len(truth.vantages),
                }
                for truth in applied
            ],
        }

    def close(self) -> None:
        """Stop everything, faults first."""
        self.clear_faults()
        stop_all((*self.fleet.probes.values(), self.coordinator, *self.services.running()))

    def _apply(self, planned: Planned, say: Callable[[str], None]) -> None:
        fault = make_fault(self.services, planned, seed=self.scenario.seed)
        self.faults.append((planned, fault.apply()))
        say(f"fault: {fault.mechanism} ({fault.where})")

    def _clear_ended(self, now: float, say: Callable[[str], None]) -> None:
        for planned, fault in self.faults:
            ended = self.began_at + self.scenario.quiet_s + planned.at_s + planned.for_s <= now
            if ended and fault.truth.ended_at_us is None:
                fault.clear()
                say(f"cleared: {fault.mechanism}")


#: A service that a fault killed or stopped on purpose.
_WANTED_ENDS: Final = (-signal.SIGKILL, -signal.SIGTERM, 0)


@contextlib.contextmanager
def open_world(
    scenario: Scenario, ground: Ground, directory: Path, *, say: Callable[[str], None]
) -> Iterator[World]:
    """Bring a world up, from services to a fleet that measures; stop all of it at the end."""
    preload()
    services = start_services(ground, directory / "services", seed=scenario.seed)
    say(f"{len(services.running())} services up: nginx, name servers, resolvers, live back end")
    since_us = wall_clock_us()
    try:
        write_coordinator_config(ground, scenario, directory / "soundings.toml")
        coordinator = _start_coordinator(ground, directory)
    except BaseException:
        services.stop()
        raise
    fleet = Fleet(ground, directory / "probes", services.shop.ca_file, {})
    world = World(scenario, ground, directory, services, coordinator, fleet, since_us)
    try:
        _start_fleet(world, say)
        yield world
    finally:
        world.close()


def _start_coordinator(ground: Ground, directory: Path) -> Running:
    machine = ground.topology.names(Part.COORDINATOR)[0]
    soundings = Path(__file__).parents[2] / "soundings.py"
    argv = [sys.executable, str(soundings), "coordinator", "run"]
    argv += ["--config", str(directory / "soundings.toml"), "--data", str(directory / "data")]
    log = directory / "coordinator.log"
    running = launch_program(ground.place(machine), argv, name="coordinator", log=log)
    admin = directory / "data" / "admin.sock"

    def ready() -> bool:
        return _answers(admin) or not running.alive()

    wait_until(ready, what="the coordinator", timeout_s=COORDINATOR_READY_S)
    if not running.alive():
        raise LabError(f"the coordinator ended at once:\n{running.log_tail()}")
    return running


def _answers(path: Path) -> bool:
    """Does somebody accept at this unix socket? A killed coordinator leaves its file behind."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == 0


def _start_fleet(world: World, say: Callable[[str], None]) -> None:
    topology = world.ground.topology
    world.fleet.tokens = create_tokens(topology, data=world.data, directory=world.directory)
    started = time.monotonic()
    world.fleet.start_all()

    def measuring() -> bool:
        dead = world.fleet.dead()
        if dead:
            raise LabError(f"{dead[0].name} ended by itself:\n{dead[0].log_tail()}")
        return connected(world) >= len(topology.vantages)

    wait_until(measuring, what="all probes to connect", timeout_s=FLEET_READY_S)
    world.began_at = time.monotonic()
    took_s = world.began_at - started
    say(f"{len(topology.vantages)} probes enrolled and connected in {took_s:.1f} s")


def connected(world: World) -> int:
    """How many probes the running coordinator has heard of."""
    try:
        probes = world.get("/api/probes")
    except (OSError, LabError, ValueError):
        return 0
    since_us = world.coordinator_since_us
    return sum(probe["session"] == "connect" and probe["seen_us"] >= since_us for probe in probes)


def _stamp(at_us: int | None) -> float | None:
    return None if at_us is None else at_us / 1e6
