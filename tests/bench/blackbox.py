"""blackbox_exporter under the same mix, asked over its own /probe door, for its own CPU time."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.bench.ground import NAME, Ground, end
from tests.bench.running import ROOT
from tests.bench.workload import MIX, PEER_BLOCK

DOOR: Final = ("127.0.0.1", 9115)
_ASKERS: Final = 16
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_READY_S: Final = 15.0
_POLL_S: Final = 0.02
_CYCLE: Final = ("icmp", "tcp", "icmp", "https", "icmp", "tcp", "icmp", "https", "icmp", "tcp")
"""Ten checks in the shares of the mix, spread out."""

assert all(_CYCLE.count(what) == round(share * 10) for what, share in MIX.items())


@dataclass(frozen=True, slots=True)
class Probed:
    """What blackbox_exporter did and what it took."""

    checks: int
    failed: int
    cpu_s: float
    seconds: float


def modules(ca_file: Path) -> str:
    """Its configuration: the same three checks, with the same trust."""
    return f"""modules:
  icmp: {{prober: icmp, timeout: 5s, icmp: {{preferred_ip_protocol: ip4}}}}
  tcp: {{prober: tcp, timeout: 5s, tcp: {{preferred_ip_protocol: ip4}}}}
  https:
    prober: http
    timeout: 5s
    http:
      preferred_ip_protocol: ip4
      headers: {{Host: {NAME}}}
      tls_config: {{ca_file: {ca_file}, server_name: {NAME}}}
"""


@contextmanager
def running_blackbox(ground: Ground, program: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The exporter on the vantage's core, ready."""
    config = ground.directory / "blackbox.yml"
    config.write_text(modules(ground.ca_file), encoding="utf-8")
    with (ground.directory / "blackbox.log").open("wb") as log:
        process = ground.popen(
            [
                str(program),
                f"--config.file={config}",
                f"--web.listen-address={DOOR[0]}:{DOOR[1]}",
                "--log.level=error",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        drive(ground, per_s=20, seconds=1.0, process=process)  # ready, and warm
        yield process
    finally:
        end(process)


def drive(
    ground: Ground, *, per_s: float, seconds: float, process: subprocess.Popen[bytes]
) -> Probed:
    """Ask for so many mixed checks per second, and look at the exporter's clock before and after."""
    order = json.dumps({"per_s": per_s, "seconds": seconds})
    before_s = _cpu_s(process.pid)
    driver = ground.popen_aside(
        [sys.executable, "-m", "tests.bench.blackbox", order], cwd=ROOT, stdout=subprocess.PIPE
    )
    output, _ = driver.communicate(timeout=seconds + 60)
    cpu_s = _cpu_s(process.pid) - before_s
    if driver.returncode:
        raise RuntimeError("the driver of blackbox_exporter failed; its traceback is above")
    told = json.loads(output)
    return Probed(told["checks"], told["failed"], cpu_s, told["seconds"])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


# --- The driver, in a process of its own ----------------------------------------------------------


def _path(number: int) -> str:
    what = _CYCLE[number % len(_CYCLE)]
    address = f"10.{PEER_BLOCK + 1}.{number // 250 % 250}.{number % 250 + 1}"
    target = {"icmp": address, "tcp": f"{address}:80", "https": f"https://{address}/"}[what]
    return f"/probe?module={what}&target={quote(target, safe='')}"


class _Askers:
    """Threads that share one timetable, each with a connection that it keeps."""

    def __init__(self, *, per_s: float, seconds: float) -> None:
        self._numbers = itertools.count()
        self._total = round(per_s * seconds)
        self._per_s = per_s
        self._lock = threading.Lock()
        self._over = threading.Event()  # never set: a clock to wait on
        self.failed = 0
        self.started_s = time.monotonic()

    def ask(self) -> None:
        door = http.client.HTTPConnection(*DOOR, timeout=30)
        while (number := next(self._numbers)) < self._total:
            due_s = self.started_s + number / self._per_s
            self._over.wait(max(0.0, due_s - time.monotonic()))
            door.request("GET", _path(number))
            if b"\nprobe_success 1" not in door.getresponse().read():
                with self._lock:
                    self.failed += 1
        door.close()

    @property
    def total(self) -> int:
        return self._total


def _await_door() -> None:
    until_s = time.monotonic() + _READY_S
    while True:
        try:
            door = http.client.HTTPConnection(*DOOR, timeout=5)
            door.request("GET", "/-/healthy")
            door.getresponse().read()
            door.close()
        except OSError:
            if time.monotonic() > until_s:
                raise
            threading.Event().wait(_POLL_S)
        else:
            return


def main() -> None:
    """Ask as the first argument says, and print how it went."""
    order = json.loads(sys.argv[1])
    _await_door()
    askers = _Askers(per_s=order["per_s"], seconds=order["seconds"])
    threads = [threading.Thread(target=askers.ask) for _ in range(_ASKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - askers.started_s
    print(json.dumps({"checks": askers.total, "failed": askers.failed, "seconds": seconds}))


if __name__ == "__main__":
    main()
