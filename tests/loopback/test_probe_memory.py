"""What a connected probe has in memory: looked at from inside, when its work is done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from proto.model import Kind, Plan
from tests.fakes.fleet import Coordinator
from tests.fakes.ledgers import a_check
from tests.fakes.vantage import enrolled

ROOT: Final = Path(__file__).resolve().parents[2]

NEVER: Final = frozenset(
    {
        "grpc",  # 14 MB and ten threads: probe.io.grpcwire speaks its wire
        "cryptography",  # 11 MB: probe.io.recertify has it, and ends
        "importlib.metadata",  # 2 MB: a mail parser
        "email", "http.client", "urllib.request", "unittest", "pydoc", "multiprocessing",
        "aiohttp", "duckdb", "jinja2", "numpy", "dns", "hypothesis",
    }
)  # fmt: skip
"""Each was in it once, or would come with a careless import."""

LOOK: Final = """
import json, pathlib, sys, soundings
code = soundings.main(sys.argv[1:])
maps = pathlib.Path("/proc/self/maps").read_text()
libraries = sorted({line.split()[-1] for line in maps.splitlines() if ".so" in line})
print(json.dumps({"modules": sorted(sys.modules), "libraries": libraries}))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a probe that measured every common kind, reported, and renewed its certificate."""
    path = tmp_path_factory.mktemp("probe")
    with Coordinator() as coordinator:
        coordinator.behaviour.certificate_life = timedelta(days=1)
        state = enrolled(path / "state", coordinator)
        coordinator.behaviour.certificate_life = timedelta(days=14)
        (state / "probe.toml").write_text('allow_networks = ["127.0.0.0/8"]\n')
        near = {"host": "127.0.0.1", "port": coordinator.fleet_port, "interval_s": 0.5}
        checks = (a_check(1, **near), a_check(2, kind=Kind.HTTP, use_tls=True, **near))
        coordinator.behaviour.plan = Plan(version=1, checks=checks, flush_s=0.2)
        words = [sys.executable, "-c", LOOK, "probe", "run", "--state", str(state)]
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            log = ""
            for line in process.stderr:
                log += line
                if "event=certificate_" in line:
                    break
            coordinator.wait(lambda seen: {row.check_no for row in seen.rows} >= {1, 2})
        finally:
            process.send_signal(signal.SIGTERM)
            out, rest = process.communicate(timeout=20)
    assert process.returncode == 0, log + rest
    look: dict[str, Any] = json.loads(out)
    return {**look, "log": log, "renewals": coordinator.seen.renewals}


def test_a_connected_probe_has_none_of_what_it_does_not_need(found: dict[str, Any]) -> None:
    """Connected, measuring, and past a renewal: the modules that cost megabytes never came."""
    assert NEVER.intersection(found["modules"]) == set()
    assert "h2.connection" in found["modules"]  # it was connected, and would show


def test_no_library_of_a_renewal_stays(found: dict[str, Any]) -> None:
    """The certificate was renewed, and what read it is mapped nowhere in this process."""
    assert "event=certificate_renewed" in found["log"]
    assert found["renewals"] == 1
    mapped = [name for name in found["libraries"] if "cryptography" in name or "cygrpc" in name]
    assert mapped == []
