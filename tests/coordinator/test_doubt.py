"""Doubt end to end: a verdict for want of voices has a probe asked that does not measure yet."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analysis.core.conclude import unmeasured
from analysis.core.verdict import Verdict
from coordinator.app import wall_us
from coordinator.live import judge_and_show
from proto.codec import plan_from_wire
from proto.model import Plan, Result, Trigger
from tests.fakes.coordinators import House, a_coordinator
from tests.fakes.fleet_client import Line, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, failed, row

CONFIG = """
[coordinator]
fleet = "127.0.0.1:0"
enrol = "127.0.0.1:0"
web = ""
[judging]
bin_s = 1
provisional_s = 1
revised_s = 2
final_s = 4
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "tcp://x.test:443"
kinds = ["tcp"]
remembered = false
[[group]]
name = "few"
services = ["x"]
labels = { tier = "first" }
"""


async def told(line: Line, *kinds: str) -> dict[str, Any]:
    """The next message of each of these kinds, whatever comes between."""
    found: dict[str, Any] = {}
    while set(found) < set(kinds):
        message = await line.next()
        kind = message.WhichOneof("message")
        if kind in kinds:
            found[kind] = getattr(message, kind)
    return found


async def report(line: Line, *rows: Result) -> None:
    """One report of these rows."""
    await line.send(batch=batch_of(body_of(rows), rows=len(rows)))


def lately() -> int:
    """A moment ago."""
    return wall_us() - SECOND_US // 10


def numbers(plan: Plan) -> dict[str, int]:
    """Check numbers of a plan by what follows the component."""
    return {check.check_id.split("/", 2)[2]: check.check_no for check in plan.checks}


def test_a_doubtful_verdict_asks_who_does_not_measure_yet(tmp_path: Path) -> None:
    """One voice is too few: the other probe is asked once, the first for a trace; both say why."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CONFIG, services=(judge_and_show,)) as house:
            probes = [
                await house.probe(labels={"tier": "first"}), await house.probe(asn=64513),
            ]  # fmt: skip
            async with (
                session(house.fleet, probes[0].channel()) as first,
                session(house.fleet, probes[1].channel()) as second,
            ):
                measured = numbers((await first.hello(sent_at_us=wall_us()))[1])
                assert (await second.hello(sent_at_us=wall_us()))[1].checks == ()
                await report(first, failed(measured["tcp/4"], lately()))
                run = (await told(first, "run"))["run"]
                assert run.check_no == measured["trace/4"]
                once = plan_from_wire((await told(second, "once"))["once"].plan)
                assert [check.interval_s for check in once.checks] == [0.0]
                await report(second, row(numbers(once)["tcp/4"], lately(), trigger=Trigger.REQUEST))
                await told(second, "ack")
            query = """
                SELECT q.why, q.service, q.component, r.service, r.trigger
                FROM results AS r INNER JOIN requests AS q USING (probe_id, check_no)
            """
            await house.until(query, [("thin", "x", "web", "once", "request")])
            assert house.ask("SELECT count(*) FROM requests") == [(2,)]
            assert house.ask("SELECT DISTINCT service FROM cells") == [("x",)]
            reasons = house.ask("SELECT DISTINCT reasons FROM verdicts")
            assert any("few_groups" in text for (text,) in reasons)

    asyncio.run(scenario())


def in_doubt(to_us: int, *, component: str | None = "web") -> Verdict:
    """A verdict for want of voices over a window that ends then."""
    at = datetime.fromtimestamp(to_us / SECOND_US, UTC)
    window = (at - timedelta(minutes=1), at)
    empty = unmeasured("x", component=component, scenario=None, window=window)
    return replace(empty, reasons=("few_groups",))


async def doubted(house: House) -> None:
    """Two windows in a row are in doubt, of a component and of the whole service."""
    for ago_s in (2, 1):
        to_us = wall_us() - ago_s * SECOND_US
        house.runtime.heard([in_doubt(to_us), in_doubt(to_us, component=None)])


@pytest.mark.parametrize("spared", ["ceiling", "quarantine", "family"])
def test_nobody_is_asked_beyond_the_ceiling_or_who_cannot_help(tmp_path: Path, spared: str) -> None:
    """A target with no room left, a voice that weighs nothing, a family that it has not: no request."""
    config = CONFIG + ("[limits]\nfleet_per_target_per_minute = 2\n" if spared == "ceiling" else "")

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=config) as house:
            one, other = await house.probe(labels={"tier": "first"}), await house.probe(asn=64513)
            async with (
                session(house.fleet, one.channel()) as first,
                session(house.fleet, other.channel()) as second,
            ):
                measured = numbers((await first.hello(sent_at_us=wall_us()))[1])
                await second.hello(
                    sent_at_us=wall_us(), families=[6] if spared == "family" else [4]
                )
                if spared == "quarantine":
                    await house.operator.quarantine(other.probe_id, lift=False, reason="a drill")
                await report(first, failed(measured["tcp/4"], lately()))
                await told(first, "ack")
                await doubted(house)
                await told(first, "run")
            asked = [(one.probe_id, measured["trace/4"])]
            await house.until("SELECT probe_id, check_no FROM requests", asked)

    asyncio.run(scenario())


def test_doubt_can_be_left_alone(tmp_path: Path) -> None:
    """With asking off, or about a window long past, nothing is asked of anybody."""

    async def scenario(config: str, *, ago_s: int) -> None:
        async with a_coordinator(tmp_path, config=config) as house:
            before = asyncio.all_tasks()
            for later_s in (2, 1):
                house.runtime.heard([in_doubt(wall_us() - (ago_s + later_s) * SECOND_US)])
            assert asyncio.all_tasks() <= before  # whoever asks does so in a task of its own

    asyncio.run(scenario(CONFIG + "[doubt]\nask = false\n", ago_s=0))
    asyncio.run(scenario(CONFIG, ago_s=3600))
