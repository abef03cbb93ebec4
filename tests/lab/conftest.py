"""How tests marked `lab` get network namespaces, and what happens where there are none.

Pytest itself runs outside. All collected lab tests are run by a second pytest inside one sandbox,
beside the tests that run out here; its reports are shown at the end under the tests' own names,
tracebacks included. So one plain `pytest` is enough, as root and as anybody else; `unshare … pytest`
inside a sandbox works too.

Where the sandbox is not permitted they skip, with the reason and the line that fixes it; with
LAB_REQUIRED=1 they fail instead, so that a green run cannot hide a lab that never ran.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab.internet import internet
from deploy.lab.namespace import is_inside, prepare_sandbox
from deploy.lab.network import Network
from deploy.lab.preflight import Preflight, check
from tests.lab.inner import REPORTS, InnerRun

_PREFLIGHT = pytest.StashKey[Preflight]()
_INNER = pytest.StashKey[InnerRun | None]()


def pytest_configure(config: pytest.Config) -> None:
    """Inside, make the sandbox ready once."""
    if is_inside(os.environ):
        prepare_sandbox()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Show lab tests after what runs out here beside them; only the inner run limits them.

    What needs the machine to itself comes when both are through.
    """
    if not is_inside(os.environ):
        items.sort(key=lambda item: (item.get_closest_marker("alone") is not None, is_lab(item)))
        for item in filter(is_lab, items):
            item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin the run inside the sandbox, beside the tests out here."""
    names = [item.nodeid for item in filter(is_lab, session.items)]
    if names and not is_inside(os.environ) and not session.config.option.collectonly:
        found = session.config.stash[_PREFLIGHT] = check()
        session.config.stash[_INNER] = (
            InnerRun(session.config.rootpath, names) if found.can_run else None
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End an inner run that nobody waits for any more: the run out here was broken off."""
    inner = session.config.stash.get(_INNER, None)
    if inner is not None:
        inner.end()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Show what the inner run reported of a lab test instead of running it here."""
    if not is_lab(item) or is_inside(os.environ):
        return None
    inner = item.config.stash[_INNER]
    reports = inner.reports().get(item.nodeid, []) if inner is not None else []
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
    if not is_lab(item) or is_inside(os.environ):
        return
    preflight, inner = item.config.stash[_PREFLIGHT], item.config.stash[_INNER]
    if inner is not None:
        pytest.fail(
            f"the run inside the sandbox did not report this test:\n{inner.output()}", pytrace=False
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


def is_lab(item: pytest.Item) -> bool:
    """Whether a test needs network namespaces."""
    return item.get_closest_marker("lab") is not None


@pytest.fixture
def network() -> Iterator[Network]:
    """A fresh internet for one test."""
    with Network(internet()) as running:
        yield running
