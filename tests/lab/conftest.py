"""How tests marked `lab` get network namespaces, and what happens where there are none.

Pytest itself runs outside. All collected lab tests are run at once by a second pytest inside one
sandbox, and its reports are shown here under the tests' own names, tracebacks included. So one
plain `pytest` is enough, as root and as anybody else; `unshare … pytest` inside a sandbox works too.

Where the sandbox is not permitted they skip, with the reason and the line that fixes it; with
LAB_REQUIRED=1 they fail instead, so that a green run cannot hide a lab that never ran.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.lab.internet import internet
from deploy.lab.namespace import SANDBOX, is_inside, prepare_sandbox, sandbox_environment
from deploy.lab.network import Network
from deploy.lab.preflight import Preflight, check

REPORTS = "LAB_REPORTS"
"""Set for the inner run: the file that takes its reports, one JSON object a line."""

INNER_RUN_S = 900.0  # the inner run limits each test by itself; this only ends a stuck one

_PREFLIGHT = pytest.StashKey[Preflight]()
_REPORTS = pytest.StashKey[dict[str, list[dict[str, Any]]]]()
_OUTPUT = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Inside, make the sandbox ready once."""
    if is_inside(os.environ):
        prepare_sandbox()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let only the inner run limit a lab test: out here the first of them waits for all."""
    if not is_inside(os.environ):
        for item in items:
            if item.get_closest_marker("lab") is not None:
                item.add_marker(pytest.mark.timeout(0))


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Show what the inner run reported of a lab test instead of running it here."""
    if item.get_closest_marker("lab") is None or is_inside(os.environ):
        return None
    reports = _inner_reports(item.session).get(item.nodeid, [])
    if not reports:
        return None  # pytest_runtest_setup says why
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for raw in reports:
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=raw)
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # The test before, one that ran here, kept what it shares with this one's module.
    item.session._setupstate.teardown_exact(nextitem)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a lab test that has no sandbox to run in."""
    if item.get_closest_marker("lab") is None or is_inside(os.environ):
        return
    preflight = item.config.stash[_PREFLIGHT]
    if preflight.can_run:
        output = item.session.config.stash[_OUTPUT]
        pytest.fail(
            f"the run inside the sandbox did not report this test:\n{output}", pytrace=False
        )
    if os.environ.get("LAB_REQUIRED") == "1":
        pytest.fail(f"LAB_REQUIRED=1, but {preflight.text()}", pytrace=False)
    pytest.skip(preflight.reason)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Inside, write each report down for the run outside."""
    where = os.environ.get(REPORTS)
    if where is not None and is_inside(os.environ):
        line = json.dumps({"$report_type": "TestReport", **report._to_json()})
        with Path(where).open("a", encoding="utf-8") as reports:
            reports.write(f"{line}\n")


@pytest.fixture
def network() -> Iterator[Network]:
    """A fresh internet for one test."""
    with Network(internet()) as running:
        yield running


def _inner_reports(session: pytest.Session) -> dict[str, list[dict[str, Any]]]:
    """Reports of the inner run by test, made at the first question; empty where it cannot run."""
    stash = session.config.stash
    if _REPORTS not in stash:
        stash[_PREFLIGHT] = check()
        runs = stash[_PREFLIGHT].can_run
        names = [item.nodeid for item in session.items if item.get_closest_marker("lab")]
        stash[_REPORTS] = _run_inside(session.config, names) if runs else {}
    return stash[_REPORTS]


def _run_inside(config: pytest.Config, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    command = [*SANDBOX, sys.executable, "-m", "pytest", "-p", "no:randomly"]
    command += ["-p", "no:cacheprovider", *names]
    with tempfile.TemporaryDirectory(prefix="lab-") as directory:
        reports, output = Path(directory, "reports"), Path(directory, "output")
        reports.touch()
        # Out of time: what did not report says so, with the output so far.
        with output.open("wb") as said, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command,
                cwd=config.rootpath,
                env={**sandbox_environment(os.environ), REPORTS: str(reports)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=INNER_RUN_S,
                check=False,
            )
        config.stash[_OUTPUT] = output.read_text(encoding="utf-8", errors="replace")
        return _by_name(reports.read_text(encoding="utf-8").splitlines())


def _by_name(lines: list[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        report = json.loads(line)
        found.setdefault(report["nodeid"], []).append(report)
    return found
