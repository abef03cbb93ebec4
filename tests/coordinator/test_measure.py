"""`soundings measure`, with real probes against a real coordinator and a real web server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.measure_cli import main
from proto.codec import plan_from_wire
from tests.coordinator.test_end_to_end import enrolled, measuring, port, soundings
from tests.fakes.coordinators import House, a_coordinator
from tests.fakes.fleet_client import session

__all__ = ["port"]


async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as a person runs it."""
    return await asyncio.to_thread(
        subprocess.run,
        soundings("measure", *arguments),
        capture_output=True,
        text=True,
        check=False,
    )


async def until_connected(house: House, count: int) -> None:
    """Wait for so many probes."""
    async with asyncio.timeout(60):
        while house.runtime.presence.connected < count:
            await house.runtime.store.run_in_store(lambda _: None)


def test_probes_answer_a_request_as_it_is_made(tmp_path: Path, port: int) -> None:
    """Two probes, two kinds: four rows, printed as they come and kept as rows of no schedule."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            data = ("--data", str(house.runtime.data_dir))
            url = f"http://127.0.0.1:{port}/"
            states = [tmp_path / "p1", tmp_path / "p2"]
            for state in states:
                await enrolled(house, state)
            with measuring(states[0]), measuring(states[1]):
                await until_connected(house, 2)
                done = await run(url, "--from", "5", "--kinds", "tcp,http", "--json", *data)
                lines = [json.loads(text) for text in done.stdout.splitlines()]
                assert done.returncode == 0, done.stderr
                assert [next(iter(one)) for one in lines] == ["asked", *["row"] * 4, "missing"]
                assert (lines[0]["asked"]["probes"], lines[0]["asked"]["checks"]) == (2, 2)
                rows = [one["row"] for one in lines[1:-1]]
                assert {row["http_status"] for row in rows if row["kind"] == "http"} == {200}
                assert {row["failure"] for row in rows} == {None}
                assert lines[-1]["missing"] == []
                done = await run(url, "--from", "1", "--kinds", "tcp", *data)
                assert "asked 1 probe;" in done.stdout
                assert "tcp     1 of 1 good, " in done.stdout
                done = await run(url, "--from", "1", "--country", "FR", *data)
                assert done.returncode == 2
                assert "of 2 connected probes none is what was asked for" in done.stderr
            assert house.ask(
                "SELECT count(*), count(DISTINCT probe_id), count(DISTINCT component) FROM results "
                "WHERE service = 'once' AND trigger = 'request'"
            ) == [(5, 2, 2)]
            assert house.ask("SELECT count(*) FROM cells WHERE service = 'once'") == [(0,)]
            assert house.ask("SELECT count(*) FROM rejects") == [(0,)]

    asyncio.run(scenario())


def test_a_probe_that_owes_its_rows_is_named(tmp_path: Path) -> None:
    """Silence is said, with the exit code of an incomplete answer."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=house.runtime.wall())
                data = ("--data", str(house.runtime.data_dir))
                asking = asyncio.create_task(run("tcp://192.0.2.1:7", "--kinds", "tcp", *data))
                signed = await line.receive("once")
                (check,) = plan_from_wire(signed.plan).checks
                assert (check.host, check.port, check.interval_s) == ("192.0.2.1", 7, 0)
                done = await asking
                assert done.returncode == 1
                name = house.runtime.registry.probes()[0].name
                assert f"rows are missing of {name}" in done.stdout

    asyncio.run(scenario())


def test_without_a_running_coordinator_nobody_can_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the directory; the code is that of a wrong usage."""
    assert main(["tcp://192.0.2.1:7", "--data", str(tmp_path)]) == 2
    assert f"no coordinator runs with --data {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["x", "--asn", "ASX"], ["x", "--family", "5"], []])
def test_wrong_usage_ends_with_code_2(argv: list[str]) -> None:
    """As every command line does."""
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_help_has_an_example_and_the_exit_codes() -> None:
    """Whoever asks for help sees how it is used and how it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "soundings", "measure", "--help"], capture_output=True, check=True
    )
    assert b"example:\n  soundings measure" in done.stdout
    assert b"exit codes:" in done.stdout
