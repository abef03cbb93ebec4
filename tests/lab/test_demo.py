"""`soundings demo` as a person runs it: started outside, it makes its own sandbox, judges, and ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.lab.namespace import is_inside
from deploy.lab.preflight import check
from deploy.lab.services import wait_until

pytestmark = [pytest.mark.timeout(200), pytest.mark.alone]

ROOT = Path(__file__).parents[2]
PAGE = re.compile(r"page: (http://[\d.:]+/)")
SHORT = """
name = "{name}"
title = "short"
seed = 5
quiet_s = 24
watch_s = 14
{more}
"""
CROWD = """
[[fault]]
kind = "crowd"
per_s = 60
ramp_s = 1
[truth]
classes = ["overload", "application_component"]
"""
NOTHING = """
[truth]
classes = ["healthy"]
"""


class Played(NamedTuple):
    """How a demo ended, and what it said."""

    code: int
    answer: dict[str, Any]
    progress: str
    took_s: float


def command(*options: str) -> list[str]:
    """The command line, with any free port for the page: several may run on one machine."""
    return [sys.executable, str(ROOT / "soundings.py"), "demo", "--json", "--port", "0", *options]


def play(*options: str) -> Played:
    """Run a demo to its end."""
    began = time.monotonic()
    ran = subprocess.run(
        command("--exit", *options), capture_output=True, text=True, check=False, timeout=180
    )
    took_s = time.monotonic() - began
    assert ran.stdout, ran.stderr
    return Played(ran.returncode, json.loads(ran.stdout), ran.stderr, took_s)


def scenario(directory: Path, name: str, more: str) -> str:
    """A shorter scenario file."""
    path = directory / f"{name}.toml"
    path.write_text(SHORT.format(name=name, more=more))
    return str(path)


@pytest.fixture
def namespaces() -> None:
    """Skip, or fail when the lab is required, where namespaces are not permitted."""
    found = check()
    if not found.can_run:
        (pytest.fail if os.environ.get("LAB_REQUIRED") == "1" else pytest.skip)(found.reason)


def read_json_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The one object on standard output, which stays open while the page does."""
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def page_of(progress: Path) -> str:
    """The page as a browser on this machine gets it."""
    found = PAGE.search(progress.read_text())
    assert found is not None
    with urllib.request.urlopen(found[1], timeout=20) as reply:  # noqa: S310 - matched as http
        return str(reply.read().decode())


@pytest.mark.usefixtures("namespaces")
def test_demo_names_the_overloaded_component_and_stays_open(tmp_path: Path) -> None:
    """The overload is judged right with its claim sheet, the page stays open, Ctrl-C ends it with 0."""
    progress = tmp_path / "progress"
    with progress.open("w") as said:
        process = subprocess.Popen(
            command(), stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )
    try:
        answer = read_json_line(process)
        if not is_inside(os.environ):
            wait_until(lambda: "Ctrl-C" in progress.read_text(), what="the page", timeout_s=60)
            assert "soundings" in page_of(progress).lower()
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=40)
    finally:
        process.kill()
        process.communicate()
    shown = progress.read_text()
    assert code == 0, shown
    assert answer["verdict"]["class"] in {"overload", "application_component"}
    assert answer["verdict"]["scope"]["components"] == ["spaces"]
    words = {name: one["words"] for name, one in answer["claim"]["variants"].items()}
    assert words.pop("D4") == "not distinguishable"
    assert set(words.values()) == {"contradicted"}
    assert answer["world"] == "namespaces"


@pytest.mark.usefixtures("namespaces")
def test_quiet_world_raises_no_incident(tmp_path: Path) -> None:
    """Where nothing happens the verdict is healthy, no incident is raised, and the exit code is 0."""
    played = play("--scenario", scenario(tmp_path, "quiet", NOTHING))
    assert played.code == 0, played.progress
    assert played.answer["verdict"]["class"] == "healthy"
    assert "incidents raised by the coordinator: 0" in played.progress


def test_loopback_world_ends_in_a_right_verdict(tmp_path: Path) -> None:
    """Without namespaces the same crowd on 127.0.0.0/8 is judged right by the same programs."""
    path = scenario(tmp_path, "loopback", CROWD)
    played = play("--world", "loopback", "--scenario", path)
    assert played.code == 0, played.progress
    assert played.answer["world"] == "loopback"
    assert played.answer["verdict"]["scope"]["components"] == ["spaces"]


def test_unknown_scenario_is_refused_before_anything_is_built() -> None:
    """A typing mistake costs no minute: it is refused at once with the names that exist."""
    ran = subprocess.run(
        command("--exit", "--scenario", "overlaod"),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert ran.returncode == 1
    assert "overload" in ran.stderr
