"""A probe that nobody here wrote the transport of: grpc-js, our .proto files, and docs/protocol.md."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator.core.intake import RAW_BYTES_MAX, ROWS_MAX
from coordinator.core.registry import SILENT_AFTER_BEATS
from coordinator.rpc.authority import PROBE_LIFE, RECOVERY_LIFE, SERVER_NAME
from coordinator.rpc.doors import BATCH_BYTES_MAX, Patience, enrol_options, fleet_options
from proto.slots import first_slot_us, phase_us
from tests.fakes.commands import ROOT, WAIT_S
from tests.fakes.coordinators import House, a_coordinator
from tests.foreign.packages import HERE, UnfetchableError, node_and_npm, packages

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
COARSE_US = 2000  # as node reads the time of day


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's JavaScript as it stands, with what drives it, beside the packages that it imports."""
    home = tmp_path_factory.mktemp("foreign")
    blocks = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    (home / "probe.mjs").write_text("\n".join(blocks), encoding="utf-8")
    shutil.copy(HERE / "drive.mjs", home)
    try:
        (home / "node_modules").symlink_to(packages() / "node_modules")
    except UnfetchableError as error:
        refuse = pytest.fail if os.environ.get("LAB_REQUIRED") == "1" else pytest.skip
        refuse(str(error))
    return home / "drive.mjs"


class Driven:
    """A running program that says a step and waits until it is told to go on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def step(self, name: str) -> Any:
        """What it says next, which must have this name; the program waits meanwhile."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        async with asyncio.timeout(WAIT_S):
            line = await self._process.stdout.readline()
            assert line, (await self._process.stderr.read()).decode()
        said = json.loads(line)
        assert name in said, said
        return said[name] if len(said) == 1 else said

    def go_on(self) -> None:
        """Let it take its next step."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")


@asynccontextmanager
async def driven(program: Path, house: House, home: Path) -> AsyncIterator[Driven]:
    """The program, started against a coordinator with a fresh token; it must end well."""
    words = (*node_and_npm()[0], program, house.enrol_door, await house.token(asn=64500), home)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        yield Driven(process)
        async with asyncio.timeout(WAIT_S):
            _, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (0, "")
    finally:
        if process.returncode is None:
            process.kill()


def test_a_foreign_program_is_a_probe(program: Path, tmp_path: Path) -> None:
    """grpc-js enrols, checks its plan, reports, and finds each acknowledged row committed."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house, driven(program, house, tmp_path) as probe:
            refused = await probe.step("strangers")
            assert [one["message"] for one in refused["strangers"]] == [
                "another coordinator",
                "this is no token",
            ]
            assert not refused["wrote"]
            probe.go_on()
            probe_id, once_more = await probe.step("enrolled")
            assert house.runtime.registry.probe(probe_id) is not None
            assert once_more == probe_id
            probe.go_on()
            refused = await probe.step("another")
            assert (refused["code"], "used" in refused["message"]) == (16, True)  # UNAUTHENTICATED
            probe.go_on()
            assert await probe.step("renewed") is False
            probe.go_on()
            assert (await probe.step("welcome"))["window"] == 8
            probe.go_on()
            _check_plan(await probe.step("plan"))
            probe.go_on()
            clock = await probe.step("clock")
            assert (
                abs(clock["offset_us"]) <= clock["error_us"] + COARSE_US
            )  # one machine, one clock
            probe.go_on()
            _check_first(await probe.step("ack"), house, probe_id)
            probe.go_on()
            reject = await probe.step("reject")
            assert reject["reason"] == "more attempts lost than sent"
            probe.go_on()
            assert await probe.step("ack") == {"epoch": 9, "seq": 1}
            assert house.ask("SELECT count(*) FROM results") == [(2,)]
            probe.go_on()
            assert await probe.step("ack") == {"epoch": 9, "seq": 3}
            assert house.ask("SELECT reason FROM results WHERE state = 'not_run'") == [("policy",)]
            probe.go_on()
            _check_example(await probe.step("columns"))
            await house.until(
                "SELECT epoch, seq, row_count, reason FROM rejects", [(9, 2, 1, reject["reason"])]
            )
            heard = "SELECT probe_id, plan_version, uptime_s > 0 FROM heartbeats"
            await house.until(heard, [(probe_id, 1, True)])
            _check_unsaid(house)
            await house.until("SELECT count(*) FROM clock_offsets", [(1,)])
            probe.go_on()
            ended = await probe.step("have")
            assert ended["have"] == [{"epoch": 9, "seq": 3}]
            assert ended["first"]["code"] == 10  # ABORTED: another session took over
            probe.go_on()

    asyncio.run(scenario())


def _check_plan(said: dict[str, Any]) -> None:
    checks = {check["check_id"] for check in said["plan"]["checks"]}
    assert checks == {f"x/spaces/{kind}/4" for kind in ("icmp", "tcp", "http", "dns")}
    forgeries = ("forged", "onceInsteadOfPlan", "anothers")
    assert [said[name]["message"] for name in forgeries] == ["a forged plan"] * 3


def _check_first(said: dict[str, Any], house: House, probe_id: str) -> None:
    """Read in the moment of the acknowledgement: nothing is waited for."""
    assert said["ack"] == {"epoch": 9, "seq": 1}
    check_no, interval_us = said["check"]["check_no"], said["check"]["interval_ms"] * 1000
    phase = phase_us(probe_id, check_no, interval_us)
    first, later = said["slots"]
    assert first_slot_us(first - 1, interval_us=interval_us, phase=phase) == first
    told = (probe_id, "tcp", 64500, "192.0.2.1", 443)
    assert house.ask(
        "SELECT epoch_us(slot_at), epoch_us(started_at), probe_id, kind, vantage_asn, address, port,"
        " operation, failure, sent, lost, rtt_ms_median, stamp_source FROM results ORDER BY slot_at"
    ) == [
        (first, first + 400, *told, None, None, 1, 0, 12.5, "user"),
        (later, later + 400, *told, "connect", "refused", 1, 1, None, None),
    ]


def _check_unsaid(house: House) -> None:
    """What the program does not say of itself is NULL, and no 0."""
    (beat,) = house.records("SELECT * EXCLUDE (received_at, sent_at, probe_id) FROM heartbeats")
    assert {name for name, figure in beat.items() if figure is not None} == {
        "plan_version",
        "uptime_s",
    }
    greeted = "SELECT backlog_rows, evicted_rows, capabilities FROM sessions WHERE what = 'connect'"
    assert set(house.ask(greeted)) == {(None, None, None)}
    assert house.ask("SELECT DISTINCT duplicates, late FROM results") == [(None, None)]


def _check_example(columns: dict[str, Any]) -> None:
    """The page's example is what its program makes of it."""
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    nonzero = {name: column for name, column in columns.items() if column != [0, 0]}
    assert nonzero == json.loads(shown)


def test_a_registry_that_does_not_answer_is_told_of_in_seconds(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What npm cannot fetch is named, without its minutes of patience; what it once fetched is not asked for."""
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        door = f"127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setenv("npm_config_registry", f"http://{door}/")
        assert packages() / "node_modules" == (program.parent / "node_modules").readlink()
        began = time.monotonic()
        with pytest.raises(UnfetchableError, match=f"npm cannot fetch grpc-js: .*{door}"):
            packages(tmp_path / "out", answer_ms=300)
    assert time.monotonic() - began < WAIT_S / 2
    assert not list((tmp_path / "out").glob("*/done"))


def test_the_page_quotes_the_limits_that_hold() -> None:
    """Each figure of the page is the constant that the doors work with."""
    fleet, enrol = dict(fleet_options(Patience())), dict(enrol_options(Patience()))
    size, streams = "grpc.max_receive_message_length", "grpc.max_concurrent_streams"
    assert [
        (BATCH_BYTES_MAX, fleet[size] - BATCH_BYTES_MAX, enrol[size]),
        (fleet[streams], enrol[streams], ROWS_MAX, RAW_BYTES_MAX),
        (
            fleet["grpc.http2.min_ping_interval_without_data_ms"],
            fleet["grpc.max_connection_age_ms"],
        ),
        (Patience().hello_ms, SILENT_AFTER_BEATS),
        (PROBE_LIFE.days, RECOVERY_LIFE.days, SERVER_NAME),
    ] == [
        (1 << 20, 4 << 10, 16 << 10),
        (16, 2, 20_000, 2 << 20),
        (20_000, 3_600_000),
        (10_000, 3),
        (14, 30, "soundings-coordinator"),
    ]
    for quoted in (
        *("1 MiB and 4 KiB", "16 KiB", "16 calls", "and 2", "20,000 rows and 2 MiB"),
        *("every 20 s", "an hour old", "after 10 s", "three heartbeats"),
        *("for 14 days", "30 days ago", "`soundings-coordinator`"),
    ):
        assert quoted in " ".join(PAGE.split())
