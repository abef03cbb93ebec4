"""Plans over a fleet: places, replacements, and numbers that change with the content alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from coordinator.app import wall_us
from coordinator.core.assigning import AWAY_AFTER_US, Candidate, rank
from coordinator.core.registry import Vantage
from proto.codec import plan_from_wire
from proto.gen import fleet_pb2
from proto.model import Plan
from tests.fakes.coordinators import CONFIG, a_coordinator
from tests.fakes.fleet_client import Credentials, Line, session

FOLLOWED = "SELECT DISTINCT plan_version FROM plans WHERE until_at IS NULL"


def grouped(**keys: Any) -> str:
    """The usual configuration with one group for its service."""
    lines = [f"{key} = {value!r}" for key, value in keys.items()]
    group = '\n[[group]]\nname = "g"\nservices = ["x"]\n'
    return CONFIG.replace("[[service]]", f"{group}{chr(10).join(lines)}\n[[service]]", 1) + (
        '\n[[anchor]]\nname = "a"\nurl = "tcp://a.test:1"\ntrace = false\n'
    )


def services(plan: Plan) -> set[str]:
    """What a plan measures."""
    return {check.check_id.split("/")[0] for check in plan.checks}


async def pushed(line: Line) -> set[str]:
    """The services of the next plan that is sent without being asked for."""
    return services(plan_from_wire((await line.receive("plan")).plan))


def test_a_place_that_was_left_is_given_to_another_probe(tmp_path: Path) -> None:
    """As its holder is away for too long another is sent the service, until the holder is back."""
    skew_us = 0

    async def scenario() -> None:
        nonlocal skew_us
        async with a_coordinator(
            tmp_path, config=grouped(probes=1), wall=lambda: wall_us() + skew_us
        ) as house:
            probes = [await house.probe() for _ in range(2)]
            first, second = (one.probe_id for one in rank(candidates(probes)))
            holder, other = (next(p for p in probes if p.probe_id == x) for x in (first, second))
            skew_us = AWAY_AFTER_US + 1_000_000
            async with session(house.fleet, other.channel()) as line:
                assert services((await line.hello(sent_at_us=house.runtime.wall()))[1]) == {
                    "anchor"
                }
                assert await pushed(line) == {"x", "anchor"}
                async with session(house.fleet, holder.channel()) as back:
                    await back.hello(sent_at_us=house.runtime.wall())
                    assert await pushed(back) == {"x", "anchor"}
                    assert await pushed(line) == {"anchor"}

    asyncio.run(scenario())


def candidates(probes: list[Credentials]) -> list[Candidate]:
    """Them, as the planner sees them."""
    return [Candidate(probe_id=p.probe_id, vantage=Vantage(asn=64512)) for p in probes]


def test_a_group_asks_for_what_a_probe_says_that_it_has(tmp_path: Path) -> None:
    """Families and capabilities come with the hello, before the plan is made."""

    async def scenario() -> None:
        async with a_coordinator(
            tmp_path, config=grouped(families=[6], capabilities=["icmp6"])
        ) as house:
            six, four = await house.probe(), await house.probe()
            able = {"families": [4, 6], "capabilities": ["icmp4", "icmp6"]}
            for probe, said, expected in (
                (six, able, {"x", "anchor"}),
                (four, {}, {"anchor"}),
            ):
                async with session(house.fleet, probe.channel()) as line:
                    _, plan = await line.hello(sent_at_us=house.runtime.wall(), **said)
                    assert services(plan) == expected

    asyncio.run(scenario())


def test_a_restart_gives_nobody_another_plan(tmp_path: Path) -> None:
    """The same content has the same number; another configuration has the next hundred's."""

    async def followed(config: str) -> int:
        async with a_coordinator(tmp_path, config=config) as house:
            probe = probes[0] if probes else await house.probe()
            probes.append(probe)
            async with session(house.fleet, probe.channel()) as line:
                _, plan = await line.hello(sent_at_us=house.runtime.wall())
                beat = fleet_pb2.Heartbeat(
                    sent_at_us=house.runtime.wall(), plan_version=plan.version
                )
                await line.send(heartbeat=beat)
                await house.until(FOLLOWED, [(plan.version,)])
                return int(plan.version)

    probes: list[Credentials] = []
    numbers = [asyncio.run(followed(text)) for text in (CONFIG, CONFIG, CONFIG + "packets = 5\n")]
    assert numbers == [1, 1, 101]
