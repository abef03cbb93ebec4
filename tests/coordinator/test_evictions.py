"""Rows that a probe lost for want of room: the same number wherever it is shown, and no other slot lost."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest

from coordinator.app import wall_us
from coordinator.core.roster import HEAD, full, line
from coordinator.services import SERVICES
from probe.core.spool import parse_evicted_name
from tests.coordinator.test_end_to_end import enrolled, measuring
from tests.fakes.coordinators import House, a_coordinator
from tests.fakes.days import CONFIG, LIMITS, LOCAL, YES, Day, end_of_day, group_of, without_checks
from tests.fakes.sound import a_target

CAP_BYTES: Final = 64 << 10
SMALL: Final = f"""{LIMITS}
[spool]
cap_mib = {CAP_BYTES / (1 << 20)}
[link]
backoff_base_s = 0.1
backoff_cap_s = 0.3
"""


class Elsewhere(BaseHTTPRequestHandler):
    """Answers each GET with another place to go: its row takes half a kilobyte, compressed."""

    def do_GET(self) -> None:  # the name that http.server calls
        """A place that nobody named before."""
        self.send_response(302)
        self.send_header("Location", "/" + secrets.token_urlsafe(400))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to print."""


def evicted(state: Path) -> int:
    """How many rows the spool remembers to have given up."""
    counts = (parse_evicted_name(path.name) for path in (state / "spool").iterdir())
    return max((count for count in counts if count is not None), default=0)


async def until_evicted(state: Path) -> None:
    """Wait for the first rows that found no room."""
    async with asyncio.timeout(60):
        while not evicted(state):
            await asyncio.to_thread(os.sched_yield)


def with_doors_of(house: House, config: str) -> str:
    """The configuration with the ports that the system chose: probes know no others."""
    for door in ("fleet", "enrol"):
        bound = house.runtime.addresses[door]
        config = config.replace(f'{door} = "{LOCAL}:0"', f'{door} = "{bound}"')
    return config


async def an_absence(path: Path) -> tuple[Day, dict[str, Any]]:
    """The coordinator ends while a probe measures, and comes back when rows were lost.

    With the first heartbeat after that.
    """
    state = path / "small"
    with a_target(Elsewhere) as port, ExitStack() as stack:
        config = CONFIG + group_of("small", f"http://{LOCAL}:{port}/", components=60)
        async with a_coordinator(path, config=config, services=SERVICES, spread=soon) as house:
            await enrolled(house, state, toml=SMALL, name="small", labels={"is": "small"})
            config = with_doors_of(house, config)
            stack.enter_context(measuring(state))
            await house.until("SELECT count(*) > 0 FROM results", YES)
        await until_evicted(state)
        back_us = wall_us()
        config = without_checks(config)
        async with a_coordinator(path, config=config, services=SERVICES, spread=soon) as house:
            day = await end_of_day(house)
            since = f"WHERE received_at > make_timestamp({back_us}) ORDER BY received_at LIMIT 1"
            (first,) = house.records(f"FROM heartbeats {since}")
            return day, first


def soon() -> float:
    """Probes that are sent away come back as early as may be."""
    return 0.0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, dict[str, Any]]:
    """The end of that day."""
    return asyncio.run(an_absence(tmp_path_factory.mktemp("absence")))


def test_every_slot_is_a_row_or_was_evicted(told: tuple[Day, dict[str, Any]]) -> None:
    """Rows and evicted ones add up to what was due, and no row came twice."""
    day, _ = told
    evicted_rows = day.beats["small"]["evicted_rows"]
    slots = [(row["check_no"], row["slot_at"]) for row in day.rows["small"]]
    assert evicted_rows > 0
    assert len(slots) == len(set(slots))
    assert len(slots) + evicted_rows == sum(day.ledger["small"].values())
    assert day.ledger["small"]["unreported"] == evicted_rows


def test_evicted_rows_are_the_same_number_everywhere(told: tuple[Day, dict[str, Any]]) -> None:
    """Table, JSON, page, metrics, `probes list` and `probes show` agree."""
    day, _ = told
    count = day.beats["small"]["evicted_rows"]
    facts = day.shown.listed["small"]
    assert day.shown.api["small"]["evicted_rows"] == facts["evicted_rows"] == count
    assert day.shown.metrics["soundings_probes_evicted_rows"] == count
    assert f"<strong>{count} lost</strong>" in day.shown.page
    assert line(facts).split()[HEAD.split().index("EVICTED")] == str(count)
    assert f"evicted        {count} rows lost for want of room, ever" in full(facts, now_us=0)


def test_the_first_heartbeat_says_how_full_the_spool_is(told: tuple[Day, dict[str, Any]]) -> None:
    """Before anything was sent: rows that wait, in bytes near the cap and never above it."""
    day, first = told
    assert 0 < first["evicted_rows"] <= day.beats["small"]["evicted_rows"]  # it measures on
    assert first["spool_rows"] > 50
    assert CAP_BYTES / 2 < first["spool_bytes"] <= CAP_BYTES
