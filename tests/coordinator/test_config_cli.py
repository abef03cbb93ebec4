"""Configurations of a real coordinator process: put in force, refused, looked at, gone back to."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator.cli import main
from tests.fakes.coordinators import CONFIG

SERVED = CONFIG.replace('web = ""', 'web = "127.0.0.1:0"')
MORE = (
    SERVED
    + '[[anchor]]\nname = "a"\nurl = "tcp://a.test:7"\nkinds = ["tcp"]\ntrace = false\nremembered = false\n'
)
BAD = SERVED.replace('url = "https', 'url = "ftp')
FINDING = 'service[x].component[spaces].url is "ftp://spaces.x.test/live"'


class Process:
    """A running coordinator, its file, its page and its log."""

    def __init__(self, path: Path, process: subprocess.Popen[str], ready: str) -> None:
        self.process = process
        self.file = path / "soundings.toml"
        self.log = path / "log"
        self.data = ["--data", str(path / "d")]
        self._page = dict(part.split("=") for part in ready.split()[1:])["web"]

    def get(self, path: str) -> str:
        """What the page says."""
        with urllib.request.urlopen(f"http://{self._page}{path}", timeout=20) as reply:
            return str(reply.read().decode())

    def metric(self, name: str) -> float:
        """One figure of /metrics."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics"), re.MULTILINE)
        assert found, name
        return float(found[1])

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that the process does by itself."""
        ends_at = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < ends_at, self.log.read_text()


@contextmanager
def running(path: Path) -> Iterator[Process]:
    """`soundings coordinator run` on a file that is there; killed at the end if it still runs."""
    command = [sys.executable, "-m", "soundings", "coordinator", "run"]
    files = ["--config", str(path / "soundings.toml"), "--data", str(path / "d")]
    with (path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *files], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        yield Process(path, process, process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One coordinator for this module; each test leaves SERVED in force."""
    path = tmp_path_factory.mktemp("server")
    (path / "soundings.toml").write_text(SERVED, encoding="utf-8")
    with running(path) as process:
        yield process


def said(
    capsys: pytest.CaptureFixture[str], server: Process, *words: str, code: int = 0
) -> tuple[str, str]:
    """What a command prints, on stdout and stderr."""
    assert main([*words, *server.data]) == code, capsys.readouterr().err
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_a_reload_says_what_it_changed(server: Process, capsys: pytest.CaptureFixture[str]) -> None:
    """The version in force, since when and by whom, and how it differs from the one before."""
    server.file.write_text(MORE, encoding="utf-8")
    first, *rest = said(capsys, server, "reload")[0].splitlines()
    found = re.fullmatch(
        r"version (\d+) is in force since \S+ \S+ UTC \((file|reload by .+)\)", first
    )
    assert found, first
    version = int(found[1])
    assert rest == [
        f"against version {version - 1}:",
        "+ check anchor/a/tcp/4",
        "plans: 0 of 0 probes get another content",
    ]
    assert server.metric("soundings_config_version") == version
    assert said(capsys, server, "reload")[0].splitlines() == [first, *rest]
    server.file.write_text(SERVED, encoding="utf-8")
    answer = json.loads(said(capsys, server, "reload", "--json")[0])
    assert answer["version"] == version + 1
    assert [one["how"] for one in answer["changes"]] == ["removed"]


def test_a_bad_file_leaves_what_is_in_force_and_says_so_everywhere(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 3 and every finding; /healthz, /metrics, the log and the history tell of it until it is mended."""
    before = server.metric("soundings_config_version")
    server.file.write_text(BAD, encoding="utf-8")
    _, err = said(capsys, server, "reload", code=3)
    assert f"{server.file}: {FINDING}" in err
    health = json.loads(server.get("/healthz"))
    assert health["ok"] is True
    assert FINDING in health["configuration_refused"][0]
    assert server.metric("soundings_config_refused") == 1
    assert server.metric("soundings_config_version") == before
    log = server.log.read_text()
    assert f"event=config_refused in_force={before:.0f} by=" in log
    out, _ = said(capsys, server, "config", "history", "--json")
    last = json.loads(out)[-1]
    assert (last["version"], FINDING in last["findings"][0]) == (None, True)
    server.file.write_text(SERVED, encoding="utf-8")
    said(capsys, server, "reload")
    assert json.loads(server.get("/healthz")) == {"ok": True}
    assert server.metric("soundings_config_refused") == 0


def test_a_signal_reads_the_file_and_goes_on_record(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever looks at the history sees what had each version read, and when."""
    before = server.metric("soundings_config_version")
    server.file.write_text(MORE, encoding="utf-8")
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: server.metric("soundings_config_version") == before + 1)
    server.file.write_text(SERVED, encoding="utf-8")
    said(capsys, server, "reload")
    rows = json.loads(said(capsys, server, "config", "history", "--json")[0])
    assert rows[0]["loaded_by"] == "start"
    assert rows[-2]["loaded_by"] in {"signal", "file"}  # whichever looked first
    assert rows[-1]["loaded_by"].split()[0] in {"reload", "file"}
    assert rows[-1]["loaded_at_us"] > rows[0]["loaded_at_us"] > 0
    out, _ = said(capsys, server, "config", "history")
    assert out.splitlines()[0].split() == ["VERSION", "READ", "(UTC)", "SHA-256", "BY"]
    assert out.splitlines()[1].split()[0] == "1"


def test_versions_can_be_read_compared_and_gone_back_to(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text, difference and rollback by number; what was rolled back to is a new version."""
    server.file.write_text(MORE, encoding="utf-8")
    out, _ = said(capsys, server, "reload", "--json")
    more: int = json.loads(out)["version"]
    assert said(capsys, server, "config", "show", str(more))[0] == MORE
    assert said(capsys, server, "config", "show", "1")[0] == SERVED
    out, _ = said(capsys, server, "config", "diff", "1", "running")
    assert out.splitlines()[0] == "+ check anchor/a/tcp/4"
    out, _ = said(capsys, server, "config", "diff", "running", str(server.file), "--json")
    assert json.loads(out)["changes"] == []
    out, _ = said(capsys, server, "config", "rollback", "1")
    assert out.startswith(f"version {more + 1} is in force since ")
    assert out.splitlines()[1:3] == [f"against version {more}:", "- check anchor/a/tcp/4"]
    assert server.file.read_text(encoding="utf-8") == SERVED
    rows = json.loads(said(capsys, server, "config", "history", "--json")[0])
    assert rows[-1]["loaded_by"].startswith(("rollback to 1 by ", "file"))
    assert rows[-1]["sha256"] == rows[0]["sha256"]
    assert [path.name for path in server.file.parent.iterdir() if "rollback" in path.name] == []


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "unknown": (["config", "show", "999"], 2, "no configuration has version 999"),
    "no file": (["config", "diff", "1", "/nowhere.toml"], 3, "/nowhere.toml: the file is not"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_there_is_said(
    server: Process, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A version that never was, a file that cannot be read."""
    words, code, message = REFUSED[name]
    assert message in said(capsys, server, *words, code=code)[1]


def test_at_rest_the_files_answer_and_nothing_can_be_reloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """History, text and difference come from the store; reload and rollback say what to do instead."""
    (tmp_path / "soundings.toml").write_text(SERVED, encoding="utf-8")
    with running(tmp_path) as process:
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
        rows: list[dict[str, Any]] = json.loads(
            said(capsys, process, "config", "history", "--json")[0]
        )
        assert [row["version"] for row in rows] == [1]
        assert said(capsys, process, "config", "show", "running")[0] == SERVED
        assert said(capsys, process, "config", "diff", "1", "running")[0] == "nothing changes\n"
        for words in (["reload"], ["config", "rollback", "1"]):
            assert "no coordinator runs with" in said(capsys, process, *words, code=2)[1]
    assert main(["config", "history", "--data", str(tmp_path / "none")]) == 7
