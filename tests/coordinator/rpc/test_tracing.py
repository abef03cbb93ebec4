"""Traces that are asked for: by an operator, and beside a failing one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.cli import main
from coordinator.exits import CoordinatorError
from proto.model import Failure, Hop, Kind, Operation, Plan, Trigger
from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.fleet_client import Line, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, not_run, row

TRACING = CONFIG.replace("trace = false", "trace = true")


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


def trace_no(plan: Plan) -> int:
    """The number of the plan's trace."""
    return next(check.check_no for check in plan.checks if check.kind is Kind.TRACE)


async def report(line: Line, *rows: Any, seq: int = 1) -> None:
    """Send rows and wait until they are committed."""
    await line.send(batch=batch_of(body_of(rows), rows=len(rows), seq=seq))
    assert (await line.receive("ack")).seq == seq


def failed_trace(number: int, *, ago_s: int = 1) -> Any:
    """A trace that ran because its component failed."""
    return row(
        number,
        now_us() - ago_s * SECOND_US,
        lost=1,
        operation=Operation.HOP,
        failure=Failure.TIMEOUT,
        trigger=Trigger.FAILURE,
        hops=(Hop(ttl=1, packet=0, router="10.0.0.1", rtt_us=900, icmp_type=11, icmp_code=0),),
    )


def test_a_failing_trace_is_compared_with_a_working_vantage(tmp_path: Path) -> None:
    """One of another AS is asked, once; what both saw stands side by side in `hops`."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=TRACING) as house:
            near, far = await house.probe(asn=64512), await house.probe(asn=64513)
            async with (
                session(house.fleet, near.channel()) as failing,
                session(house.fleet, far.channel()) as working,
            ):
                _, plan = await failing.hello(sent_at_us=now_us())
                await working.hello(sent_at_us=now_us())
                number = trace_no(plan)
                await report(working, row(2, now_us() - SECOND_US))
                for seq in (1, 2):
                    await report(failing, failed_trace(number, ago_s=seq), seq=seq)
                assert (await working.receive("run")).check_no == number
                seen = row(number, now_us(), trigger=Trigger.REQUEST, hops=(Hop(ttl=1, packet=0),))
                await report(working, seen, seq=2)  # its ack comes next: it was asked once
            assert house.ask(
                "SELECT vantage_asn, trigger, count(*) FROM hops GROUP BY ALL ORDER BY ALL"
            ) == [(64512, "failure", 2), (64513, "request", 1)]

    asyncio.run(scenario())


def test_what_is_over_or_was_not_seen_is_not_compared(tmp_path: Path) -> None:
    """A backlog's failures, a trace that could not run and one that found its target ask nobody."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=TRACING) as house:
            near, far = await house.probe(asn=64512), await house.probe(asn=64513)
            async with (
                session(house.fleet, near.channel()) as failing,
                session(house.fleet, far.channel()) as working,
            ):
                _, plan = await failing.hello(sent_at_us=now_us())
                await working.hello(sent_at_us=now_us())
                number = trace_no(plan)
                await report(working, row(2, now_us() - SECOND_US))
                unlike = [
                    failed_trace(number, ago_s=3600),
                    replace(not_run(number, now_us()), trigger=Trigger.FAILURE),
                    row(number, now_us() - 2 * SECOND_US, trigger=Trigger.FAILURE),
                ]
                for seq, one in enumerate(unlike, start=1):
                    await report(failing, one, seq=seq)
                await report(failing, failed_trace(number), seq=4)
                assert (await working.receive("run")).check_no == number
            told = "SELECT count(*) FROM results WHERE trigger = 'failure'"
            assert house.ask(told) == [(4,)]

    asyncio.run(scenario())


async def refusal(house: House, target: tuple[str, str], **fields: Any) -> str:
    """What the operator is told when nobody can be asked."""
    with pytest.raises(CoordinatorError) as caught:
        await house.operator.trace(*target, **{"names": [], "count": 0, **fields})
    return str(caught.value)


def test_an_operator_asks_for_traces(tmp_path: Path) -> None:
    """By number or by name, of those that are connected and plan to; else it is said why not."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=TRACING) as house:
            assert "no connected probe has a trace of x/spaces" in await refusal(
                house, ("x", "spaces")
            )
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                _, plan = await line.hello(sent_at_us=now_us())
                [[name]] = [[p["name"]] for p in await house.operator.list_probes()]
                for names, count in (([], 1), ([name], 0), ([], 0)):
                    said = await house.operator.trace("x", "spaces", names=names, count=count)
                    assert said == f"asked {name}; the hops will be in the table hops"
                    assert (await line.receive("run")).check_no == trace_no(plan)
                assert (
                    f"'moon', which is not connected or has no trace of x/spaces; able are {name}"
                    in (await refusal(house, ("x", "spaces"), names=["moon"]))
                )
                assert "no connected probe has a trace of x/api" in await refusal(
                    house, ("x", "api")
                )

    asyncio.run(scenario())


def test_only_a_running_coordinator_can_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With none running, the command says so and makes no data directory."""
    assert main(["trace", "x/spaces", "--data", str(tmp_path / "d")]) == 2
    assert "only a running one can ask probes" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
