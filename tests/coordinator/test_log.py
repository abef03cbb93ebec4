"""The log: names and fields as documented, and each thing that happens said once."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
import structlog

from coordinator.app import wall_us
from coordinator.core.registry import Vantage
from coordinator.store.commit import Arrival, Faults
from tests.fakes.coordinator_store import ask
from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.fleet_client import EndedError, csr_of, new_key, renew, session
from tests.fakes.log_lines import MORE, Event, events_of_page, events_of_sources
from tests.fakes.pages import open_busy_page
from tests.fakes.reports import SECOND_US, batch_of, body_of, row


def test_the_page_is_what_the_sources_say() -> None:
    """Every event with its level and fields is in docs/log.md, and nothing else is."""
    assert events_of_page() == events_of_sources()
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", event.name) for event in events_of_sources())


def test_an_event_has_one_meaning() -> None:
    """No name is used with two levels or two sets of fields."""
    names = Counter(event.name for event in events_of_sources())
    assert [name for name, times in names.items() if times > 1] == []


class Strike:
    """A commit of reports that fails once when it is told to."""

    def __init__(self) -> None:
        self.due = False

    def __call__(self, arrivals: Sequence[Arrival]) -> None:
        if self.due and arrivals:
            self.due = False
            raise OSError("a stroke")


async def _live(path: Path, strike: Strike) -> None:
    """A whole life: configuration, tokens, sessions, reports, trouble, a backup, and the end."""
    async with a_coordinator(path, faults=Faults(before_insert=strike)) as house:
        probe = await house.probe()
        await renew(house.fleet, probe, csr_of(new_key()))
        async with session(house.fleet, probe.channel()) as line:
            await line.hello(sent_at_us=wall_us() - 3600 * SECOND_US)
            await line.receive("notice")
            await line.send(batch=batch_of(body_of([row(99, wall_us())])))
            await line.receive("reject")
            strike.due = True
            await line.send(batch=batch_of(body_of([row(1, wall_us())]), seq=2))
            await line.ended()
        await house.until("SELECT count(*) > 0 FROM sessions", [(True,)])
        await _configure(house)
        async with house.operator.hold():
            pass
        await house.operator.quarantine(probe.probe_id, lift=False, reason="a test")
        with suppress(EndedError, grpc.aio.AioRpcError):
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=wall_us())
                await house.operator.revoke(probe.probe_id)
                await line.ended()
        with suppress(grpc.aio.AioRpcError, EndedError):
            async with session(house.fleet, probe.channel()) as line:
                await line.hello()


async def _configure(house: House) -> None:
    house.config_file.write_text(CONFIG.replace('url = "https', 'url = "ftp'), encoding="utf-8")
    assert not (await house.operator.reload("a test"))["accepted"]
    house.config_file.write_text(CONFIG + "packets = 5\n", encoding="utf-8")
    assert (await house.operator.reload("a test"))["accepted"]
    await house.operator.create_token(name="", vantage=Vantage(), ttl_s=60)


def _events(lines: list[MutableMapping[str, Any]]) -> Counter[str]:
    return Counter(str(line["event"]) for line in lines)


ONCE = {
    *("ready", "stopping", "probe_enrolled", "certificate_renewed", "probe_clock_off"),
    *("report_rejected", "store_in_trouble", "store_recovered", "files_held", "files_let_go"),
}
OTHERWISE = {
    "session_begun": 2,
    "session_ended": 2,  # sent away, revoked
    "token_created": 2,
    "config_in_force": 2,  # the start, the change
    "config_refused": 1,
    "plan_issued": 2,  # one for each configuration
    "probe_state_set": 2,  # quarantined, revoked
    "refused": 1,
}


def test_each_thing_that_happens_is_said_once(tmp_path: Path) -> None:
    """A whole life of a coordinator: so many lines of each name, with the documented fields."""
    with structlog.testing.capture_logs() as lines:
        asyncio.run(_live(tmp_path, Strike()))
    counts = _events(lines)
    wanted = Counter(dict.fromkeys(ONCE, 1) | OTHERWISE)
    assert {name: counts[name] for name in wanted} == dict(wanted)
    assert set(counts) <= set(wanted) | {"probe_seen"}
    page = {event.name: event for event in events_of_page()}
    for line in lines:
        _compare(line, page[str(line["event"])])


def _compare(line: MutableMapping[str, Any], event: Event) -> None:
    fields = set(line) - {"event", "log_level", "exc_info"}
    assert line["log_level"] == event.level
    assert event.fields - {MORE} <= fields, line
    assert MORE in event.fields or fields <= event.fields, line


def test_each_revision_of_an_incident_is_said_once(tmp_path: Path) -> None:
    """As many lines as rows, with the identity, the revision and what is said now."""

    async def scenario() -> list[tuple[Any, ...]]:
        async with open_busy_page(tmp_path) as (_, store):
            return ask(store, "SELECT incident_id, revision, class FROM incidents ORDER BY ALL")

    with structlog.testing.capture_logs() as lines:
        rows = asyncio.run(scenario())
    said = [line for line in lines if line["event"] == "incident_revised"]
    assert sorted((o["incident_id"], o["revision"], o["fault_class"]) for o in said) == rows
    assert len(rows) > 1
