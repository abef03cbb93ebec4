"""The files and processes of the durability drill: a coordinator, simulated probes, real probes."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from probe.io.state import Endpoint, StateDirectory
from tests.bench.fleet_files import make_fleet
from tests.fakes.fleet_client import csr_of, new_key

ROOT: Final = Path(__file__).resolve().parents[2]

CONFIG: Final = """
[coordinator]
fleet = "127.0.0.1:{fleet}"
enrol = "127.0.0.1:0"
web = "127.0.0.1:{web}"
[judging]
bin_s = 10
provisional_s = 5
revised_s = 30
final_s = 60
[defaults]
interval_s = 1
timeout_s = 1
trace = false
remembered = false
confirm_after_s = []
[limits]
per_target_per_minute = 60
free_mib = 0
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "http://127.0.0.1:{target}/"
kinds = ["tcp", "http"]
expect_body = "sound"
"""
"""`free_mib = 0`: below it a coordinator takes nothing, and the disk's own refusal is what is asked for."""

PROBE: Final = """
allow_networks = ["127.0.0.0/8"]
[limits]
per_target_per_minute = 6000
[link]
backoff_base_s = 0.2
backoff_cap_s = 1.0
"""


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the coordinator is found again after each death."""

    fleet: int
    web: int


@dataclass(slots=True)
class Files:
    """Where everything lies. `states` are the simulated probes, `real` the real ones."""

    config: Path
    data: Path
    times: Path
    logs: Path
    doors: Doors
    states: list[Path] = field(default_factory=list)
    real: list[Path] = field(default_factory=list)


def free_port(chance: random.Random) -> int:
    """A port below those that the kernel gives to clients, so that nobody takes it meanwhile."""
    while True:
        port = chance.randrange(12_000, 30_000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def lay_out(directory: Path, disk: Path, *, simulated: int, real: int, target: int) -> Files:
    """Enrol the probes; the coordinator's data lies on `disk`, all else in `directory`."""
    chance = random.Random()
    doors = Doors(free_port(chance), free_port(chance))
    made = make_fleet(disk, probes=simulated + real, components=1)
    logs = directory / "logs"
    logs.mkdir()
    config = directory / "soundings.toml"
    text = CONFIG.format(fleet=doors.fleet, web=doors.web, target=target)
    config.write_text(text, encoding="utf-8")
    files = Files(config, made.data, directory / "times", logs, doors)
    fleet = json.loads(made.fleet.read_text(encoding="utf-8"))
    for number, (probe_id, certificate) in enumerate(fleet["certificates"].items()):
        path = directory / "probes" / f"p{number:02d}"
        _enrolled(path, probe_id, certificate, ca=fleet["ca"], key=fleet["key"], door=doors.fleet)
        (files.states if number < simulated else files.real).append(path)
    return files


def _enrolled(path: Path, probe_id: str, certificate: str, *, ca: str, key: str, door: int) -> None:
    state = StateDirectory(path)
    state.make()
    state.write("key.pem", key.encode())
    state.write("csr.der", csr_of(new_key()))
    state.write("ca.pem", ca.encode())
    state.write("certificate.pem", certificate.encode())
    address = f"127.0.0.1:{door}"
    state.save_endpoint(Endpoint(probe_id=probe_id, enrol=address, fleet=(address,)))
    (path / "probe.toml").write_text(PROBE, encoding="utf-8")


def probe_id_of(state: Path) -> str:
    """Whose directory it is."""
    return StateDirectory(state).identity().endpoint.probe_id


def start(argv: Sequence[str], log: Path) -> subprocess.Popen[str]:
    """A Python program of ours that takes and prints lines; its log goes on where it ended."""
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )


def start_simulated(
    seed: int, rate: float, states: Sequence[Path], log: Path
) -> subprocess.Popen[str]:
    """Some simulated probes in one process."""
    module = ["-m", "tests.bench.torture_probes", str(seed), str(rate)]
    return start([*module, *map(str, states)], log)


def start_real(state: Path) -> subprocess.Popen[str]:
    """`soundings probe run`."""
    return start(["-m", "soundings", "probe", "run", "--state", str(state)], state / "log")


def start_coordinator(
    files: Files, *, fault: str, count: int, broken: str
) -> subprocess.Popen[str]:
    """The drilled coordinator."""
    argv = ["-m", "tests.bench.torture_coordinator", str(files.config), str(files.data)]
    return start([*argv, fault, str(count), broken, str(files.times)], files.logs / "coordinator")


def wait_until(condition: object, *, within_s: float, look_s: float = 0.02) -> bool:
    """Look until `condition()` holds; False when it did not in time."""
    assert callable(condition)
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(look_s)
    return True
