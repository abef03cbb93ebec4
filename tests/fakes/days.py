"""A day of real probes at a real coordinator, and all that is known of it when nothing more can change.

What counts is compared at the end: the fleet is given a plan without checks, and a probe that follows
another plan says at once how it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.fakes.coordinators import House

LOCAL: Final = "127.0.0.1"
YES: Final = [(True,)]

CONFIG: Final = """
[coordinator]
fleet = "127.0.0.1:0"
enrol = "127.0.0.1:0"
web = "127.0.0.1:0"
[judging]
bin_s = 1  # so that reports come every half second
provisional_s = 3600  # nothing is judged in so short a day
revised_s = 3600
[defaults]
interval_s = 1
timeout_s = 0.5
confirm_after_s = []
trace = false
remembered = false
[limits]
per_target_per_minute = 60
fleet_per_target_per_minute = 100000
"""
LIMITS: Final = """
[limits]
checks_per_s = 1000
per_target_per_minute = 60000
"""
_GROUP: Final = """
[[group]]
name = "{name}"
services = ["{name}"]
labels = {{is = "{name}"}}
countries = ["DE"]
[[service]]
name = "{name}"
"""
_COMPONENT: Final = """
[[service.component]]
name = "c{number}"
url = "{url}"
kinds = ["{kind}"]
expect_status = [200, 302]
"""


def group_of(name: str, url: str, *, components: int) -> str:
    """A service of so many components that probes with the label is = `name` measure."""
    kind = url.partition(":")[0]
    parts = (_COMPONENT.format(number=number, url=url, kind=kind) for number in range(components))
    return _GROUP.format(name=name) + "".join(parts)


def without_checks(config: str) -> str:
    """The same configuration, of which no probe has anything to do."""
    return config.replace('countries = ["DE"]', 'countries = ["FR"]')


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What readers get: the page as HTML, the rest by name."""

    page: str
    api: dict[str, dict[str, Any]]  # /api/probes
    metrics: dict[str, float]  # families without labels
    listed: dict[str, dict[str, Any]]  # what the operator's door says


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What the store holds and the coordinator shows, by the name of the probe."""

    beats: dict[
        str, dict[str, Any]
    ]  # the newest heartbeat, with words of the hello and its deepest queue
    rows: dict[str, list[dict[str, Any]]]  # of the view results
    ledger: dict[str, dict[str, int]]  # slots by state
    shown: Shown

    def reasons(self, name: str, reason: str) -> int:
        """How many rows of a probe have this reason."""
        return sum(row["reason"] == reason for row in self.rows[name])


async def end_of_day(house: House) -> Day:
    """Wait until the probes follow a plan without checks and all that they hold has come."""
    await house.until("SELECT count(*) FROM plans WHERE until_at IS NULL", [(0,)])
    await house.until(
        "SELECT bool_and(slots - rows = evicted_rows) FROM "
        "(SELECT probe_id, count(*) AS slots, count(*) FILTER (WHERE state <> 'unreported') AS rows "
        "FROM ledger GROUP BY probe_id) "
        "JOIN (SELECT probe_id, max_by(evicted_rows, received_at) AS evicted_rows "
        "FROM heartbeats GROUP BY probe_id) USING (probe_id)",
        YES,
    )
    beats = house.records(
        "SELECT name, version, capabilities, limits, address, heartbeats.*, "
        "max(queue_depth) OVER (PARTITION BY name) AS queue_depth_max FROM heartbeats "
        "JOIN probes USING (probe_id) "
        "JOIN (FROM sessions WHERE what = 'connect') USING (probe_id) "
        "QUALIFY row_number() OVER (PARTITION BY name ORDER BY heartbeats.received_at DESC) = 1"
    )
    counts = house.records(
        "SELECT name, ledger.state, count(*) AS slots "
        "FROM ledger JOIN probes USING (probe_id) GROUP BY ALL"
    )
    results = house.records("FROM results")
    names = [beat["name"] for beat in beats]
    return Day(
        beats={beat["name"]: beat for beat in beats},
        rows={name: [row for row in results if row["vantage"] == name] for name in names},
        ledger={
            name: {one["state"]: one["slots"] for one in counts if one["name"] == name}
            for name in names
        },
        shown=await shown_by(house),
    )


async def shown_by(house: House) -> Shown:
    """Ask everywhere."""
    async with aiohttp.ClientSession(base_url=f"http://{house.runtime.addresses['web']}") as web:
        page, api, metrics = [await _get(web, at) for at in ("/", "/api/probes", "/metrics")]
    samples = (line.split(" ") for line in metrics.splitlines() if not line.startswith("#"))
    return Shown(
        page=page,
        api={one["name"]: one for one in json.loads(api)},
        metrics={name: float(value) for name, value in samples if "{" not in name},
        listed={one["name"]: one for one in await house.operator.list_probes()},
    )


async def _get(session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(path) as reply:
        assert reply.status == 200, await reply.text()
        return await reply.text()
