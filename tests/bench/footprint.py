"""What a probe costs its host: memory and processor while idle, time to start, size of its install.

    python -m tests.bench.footprint [--seconds 60] [--runs 5]

The probe runs from a clean environment made of lock/probe.txt and nothing else, as on a VPS: what a
developer's environment has beside that (rich, coverage) would be imported by the way and counted.
It is enrolled at a coordinator on loopback, connected, and runs a plan of a hundred checks a minute:
half echo requests, a third connections, a fifth https with verification against the machine's own
store of authorities. Everything stays in a network namespace of this program's own.

Prints progress on stderr and one JSON object as the last line of stdout.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench import machine
from tests.bench.contract import Bench, Figure, over_rounds, say

ROOT: Final = Path(__file__).resolve().parents[2]
INSIDE: Final = "SOUNDINGS_FOOTPRINT_INSIDE"
SANDBOX: Final = ("unshare", "--user", "--map-root-user", "--net", "--fork", "--kill-child")

CHECKS: Final = 50
INTERVAL_S: Final = 30.0
"""Fifty checks every half minute: a hundred a minute."""

SETTLE_S: Final = 10.0
"""Start, first session and first handshakes are no part of being idle."""

FLOORS: Final[Mapping[str, tuple[str, float]]] = {
    "idle_rss": ("<=", 50.0),
    "idle_cpu": ("<=", 1.0),
    "base_install": ("<=", 45.0),
    "start": ("<", 0.6),
}
_TICKS: Final = os.sysconf("SC_CLK_TCK")


# --- What a VPS would install ---------------------------------------------------------------------


def prepare(cache: Path) -> tuple[Path, int]:
    """A clean environment with the probe in it; its interpreter, and the bytes of the wheels."""
    lock = ROOT / "lock" / "probe.txt"
    home = cache / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    wheels, python = home / "wheels", home / "venv" / "bin" / "python"
    if not python.exists():
        say("making a clean environment from lock/probe.txt")
        _run(sys.executable, "-m", "venv", home / "venv")
    pip = (python, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check")
    if not wheels.exists():
        locked = ("--no-deps", "--require-hashes", "-r", lock)
        _run(*pip, "download", *locked, "--dest", home / "wheels.new")
        _run(*pip, "install", *locked)
        (home / "wheels.new").rename(wheels)
    # What is measured is the code as it is now.
    own = (sys.executable, "-m", "pip", "--quiet", "--quiet", "wheel", "--no-deps")
    _run(*own, "--no-build-isolation", "--wheel-dir", home / "own", ROOT)
    (wheel,) = (home / "own").glob("soundings-*.whl")
    _run(*pip, "install", "--no-deps", "--force-reinstall", wheel)
    return python, sum(file.stat().st_size for file in (*wheels.iterdir(), wheel))


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, stdout=sys.stderr)


# --- A world on loopback --------------------------------------------------------------------------


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name of the method that it answers
        """A small page."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_words: object) -> None:
        """Nothing."""


@contextmanager
def serving(directory: Path) -> Iterator[tuple[int, Path]]:
    """An https server; its port, and a store of the machine's authorities and its own."""
    from tests.fakes.tls_authority import make_authority  # noqa: PLC0415  # inside only

    authority = make_authority(directory)
    store = directory / "authorities.pem"
    usual = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    machine = Path(usual).read_bytes() if Path(usual).exists() else b""
    store.write_bytes(machine + authority.ca_file.read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    context = authority.leaf("127.0.0.1.test").context()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], store
    finally:
        server.shutdown()
        server.server_close()


def _plan(https_port: int, tcp_port: int) -> Any:
    from proto.model import Check, Kind, Plan  # noqa: PLC0415  # inside only

    kinds = [Kind.ICMP] * 25 + [Kind.TCP] * 15 + [Kind.HTTP] * 10
    checks = tuple(
        Check(
            check_no=number,
            check_id=f"check-{number}",
            kind=kind,
            host="127.0.0.1.test" if kind is Kind.HTTP else "127.0.0.1",
            pinned="127.0.0.1" if kind is Kind.HTTP else None,
            port={Kind.ICMP: None, Kind.TCP: tcp_port, Kind.HTTP: https_port}[kind],
            use_tls=kind is Kind.HTTP,
            interval_s=INTERVAL_S,
        )
        for number, kind in enumerate(kinds, 1)
    )
    return Plan(version=1, checks=checks)


# --- Measuring ------------------------------------------------------------------------------------


@contextmanager
def running(
    python: Path, state: Path, *, store: Path
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A probe that has started, and the seconds that took."""
    environment = {
        "PATH": os.environ["PATH"],
        "SSL_CERT_FILE": str(store),
        "NO_COLOR": "1",
    }
    words = [str(python.parent / "soundings"), "probe", "run", "--state", str(state)]
    begun = time.perf_counter()
    process = subprocess.Popen(words, cwd="/", stderr=subprocess.PIPE, env=environment)
    assert process.stderr is not None, "it was asked for"
    try:
        said = b""
        for line in process.stderr:
            said = line
            if b"event=started" in line:
                break
        else:
            raise RuntimeError(f"the probe did not start: {said.decode(errors='replace').strip()}")
        took_s = time.perf_counter() - begun
        threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()
        yield process, took_s
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _drain(stream: Any) -> None:
    for _ in stream:
        pass


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """Processor time so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(python: Path, *, seconds: float, runs: int) -> tuple[dict[str, Figure], dict[str, int]]:
    """All that needs a running probe; beside the figures, the rows that came in by their state."""
    from tests.fakes.fleet import Coordinator  # noqa: PLC0415  # inside only
    from tests.fakes.vantage import enrolled  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name, Coordinator() as coordinator:
        state = enrolled(Path(name) / "state", coordinator)
        (state / "probe.toml").write_text(
            'allow_networks = ["127.0.0.0/8"]\n[limits]\nper_target_per_minute = 6000\n'
        )
        with serving(Path(name)) as (https_port, store):
            coordinator.behaviour.plan = _plan(https_port, coordinator.enrol_port)
            starts = []
            for _ in range(runs):
                with running(python, state, store=store) as (_, took_s):
                    starts.append(took_s)
            say(f"starts: {', '.join(f'{took_s:.3f} s' for took_s in starts)}")
            with running(python, state, store=store) as (process, _):
                memory, cpu = _watch(process, seconds=seconds)
        rows = coordinator.seen.rows
        counts = {
            "measured": sum(row.reason is None for row in rows),
            "not_run": sum(row.reason is not None for row in rows),
            "failed": sum(row.failure is not None for row in rows),
        }
    if not counts["measured"]:
        raise RuntimeError(f"what was watched was no connected probe: it reported {counts}")
    return {"start": over_rounds(starts, "s"), "idle_rss": memory, "idle_cpu": cpu}, counts


def _watch(process: subprocess.Popen[bytes], *, seconds: float) -> tuple[Figure, Figure]:
    """Memory and processor of an idle probe, in three parts of the time."""
    say(f"idle for {seconds:g} s")
    pause = threading.Event()
    pause.wait(SETTLE_S)
    memory, cpu, pid = [], [], process.pid
    for _ in range(3):
        begun, before = time.perf_counter(), cpu_s(pid)
        pause.wait(seconds / 3)
        if process.poll() is not None:  # one that is gone takes no memory, and holds every floor
            raise RuntimeError(f"the probe ended with code {process.returncode} while watched")
        memory.append(rss_mb(pid))
        cpu.append(100 * (cpu_s(pid) - before) / (time.perf_counter() - begun))
    return over_rounds(memory, "MB"), over_rounds(cpu, "%")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether every floor holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.footprint", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="to watch an idle probe for")
    parser.add_argument("--runs", type=int, default=5, help="starts to measure")
    parser.add_argument("--cache", type=Path, default=ROOT / "out" / "bench")
    args = parser.parse_args(argv)
    if os.environ.get(INSIDE) is None:
        python, size = prepare(args.cache)
        inside = {**os.environ, INSIDE: json.dumps([str(python), size])}
        words = [sys.executable, "-m", "tests.bench.footprint", *(argv or sys.argv[1:])]
        return subprocess.run([*SANDBOX, *words], cwd=ROOT, env=inside, check=False).returncode
    python_text, size = json.loads(os.environ[INSIDE])
    _open_loopback()
    bench = Bench("footprint", machine=machine.describe())
    for name, (relation, bound) in FLOORS.items():
        bench.require(name, relation, bound)
    bench.add("base_install", over_rounds([size / 1e6], "MB"))
    figures, rows = measure(Path(python_text), seconds=args.seconds, runs=args.runs)
    for name, figure in figures.items():
        bench.add(name, figure)
    say(f"rows: {rows}")
    return bench.finish()


def _open_loopback() -> None:
    """In a fresh namespace loopback is down and nobody may send echo requests."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
