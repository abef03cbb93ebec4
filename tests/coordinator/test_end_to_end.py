"""Real probe processes against a real coordinator: enrolled, measuring, killed, and whole again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.sound import a_target

LIVE = """
[judging]
bin_s = 1
provisional_s = 2
[defaults]
interval_s = 1
timeout_s = 1
[limits]
per_target_per_minute = 60
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "http://127.0.0.1:{port}/"
kinds = ["tcp", "http"]
expect_body = "sound"
"""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a web server on loopback."""
    with a_target() as port:
        yield port


def soundings(*arguments: str) -> list[str]:
    """The one command."""
    return [sys.executable, "-m", "soundings", *arguments]


async def enrolled(house: House, state: Path, *, toml: str = "", **token: Any) -> None:
    """Enrol by the command, as an operator does; `toml` is what probe.toml says beside loopback."""
    text = await house.token(**token)
    arguments = ("--coordinator", house.enrol_door, text, "--state", str(state))
    command = soundings("probe", "enrol", *arguments)
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    allowed = 'allow_networks = ["127.0.0.0/8"]\n'
    (state / "probe.toml").write_text(allowed + toml, encoding="utf-8")


@contextmanager
def measuring(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A probe process; killed at the end if it still runs."""
    with (state / "log").open("ab") as log:
        command = soundings("probe", "run", "--state", str(state))
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until_good_rows(house: House, more_than: int) -> int:
    """Wait for so many good HTTP rows; how many there are."""
    question = "SELECT count(*) FROM results WHERE kind = 'http' AND failure IS NULL AND sent = 1"
    async with asyncio.timeout(60):
        while True:
            ((count,),) = await asyncio.to_thread(house.ask, question)
            if count > more_than:
                return int(count)
            await house.runtime.store.run_in_store(lambda _: None)


def test_a_killed_probe_goes_on_where_it_was(tmp_path: Path, port: int) -> None:
    """Every slot is in the ledger once, before and after kill -9, each epoch without a gap."""
    config = CONFIG.split("[[service]]", maxsplit=1)[0] + LIVE.format(port=port)

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=config) as house:
            state = tmp_path / "probe"
            await enrolled(house, state)
            with measuring(state) as process:
                before = await until_good_rows(house, 2)
                process.send_signal(signal.SIGKILL)
            with measuring(state) as process:
                await until_good_rows(house, before + 2)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0
            assert house.ask("SELECT count(DISTINCT boot_id) FROM results") == [(2,)]
            assert house.ask(
                "SELECT count(*) FROM (SELECT 1 FROM results "
                "GROUP BY probe_id, check_no, slot_at HAVING count(*) > 1)"
            ) == [(0,)]
            assert house.ask(
                "SELECT bool_and(lowest = 1 AND highest = n) FROM (SELECT min(seq) AS lowest, "
                "max(seq) AS highest, count(*) AS n FROM batches GROUP BY probe_id, epoch)"
            ) == [(True,)]
            assert house.ask("SELECT count(*) FROM rejects") == [(0,)]

    asyncio.run(scenario())
