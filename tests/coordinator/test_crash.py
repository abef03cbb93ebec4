"""kill -9 at the worst instants: no acknowledged row is lost, and none is stored twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import grpc
import pytest

from coordinator.cli import main
from coordinator.datadir import DataDir
from coordinator.rpc.authority import as_datetime, open_authority
from tests.fakes.coordinators import CONFIG
from tests.fakes.fleet_client import Credentials, EndedError, enrol, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, row

REPORTS = 30
ROWS = 4


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


@contextmanager
def running(path: Path, fault: str, count: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A coordinator process that is ready, with its addresses; killed at the end if it still is."""
    command = [sys.executable, "-m", "tests.fakes.drilled_coordinator"]
    arguments = [str(path / "soundings.toml"), str(path / "d"), fault, str(count)]
    with (path / "log").open("a") as log:
        process = subprocess.Popen(
            command + arguments, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def door(ready: str, name: str) -> str:
    """The address of a door out of the ready line."""
    return dict(part.split("=") for part in ready.split()[1:])[name]


async def report(address: str, probe: Credentials) -> None:
    """Send every report again from the first that is not known to be durable, until all are."""
    async with session(address, probe.channel()) as line:
        welcome, _ = await line.hello(sent_at_us=now_us())
        acked = max((ack.seq for ack in welcome.have), default=0)
        for seq in range(acked + 1, REPORTS + 1):
            rows = [row(1, now_us() - SECOND_US, total_us=seq * 10 + i) for i in range(ROWS)]
            await line.send(batch=batch_of(body_of(rows), seq=seq, rows=ROWS))
            while acked < seq - 2:  # few at once, so that there are many commits to be killed in
                acked = (await line.receive("ack")).seq
        while acked < REPORTS:
            acked = (await line.receive("ack")).seq


async def report_until_all_is_durable(path: Path, fault: str) -> int:
    """Restart the coordinator as often as it dies; the number of deaths."""
    probe, deaths = None, 0
    while True:
        count = 2 if deaths < 3 else 10_000
        with running(path, fault, count) as (process, ready):
            probe = probe or await first_probe(path, door(ready, "enrol"))
            try:
                await report(door(ready, "fleet"), probe)
            except (grpc.aio.AioRpcError, EndedError, asyncio.InvalidStateError):
                assert await asyncio.to_thread(process.wait, 20) == -signal.SIGKILL
                deaths += 1
                continue
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
            return deaths


async def first_probe(path: Path, enrol_door: str) -> Credentials:
    """Enrol with a token made over the operator's socket of the running process."""
    command = [sys.executable, "-m", "soundings", "coordinator", "token", "create"]
    made = await asyncio.to_thread(
        subprocess.run,
        [*command, "--asn", "64512", "--data", str(path / "d")],
        capture_output=True,
        text=True,
        check=True,
    )
    authority = open_authority(DataDir(path / "d").authority, now=as_datetime(now_us()))
    return await enrol(enrol_door, made.stdout.strip(), authority.certificate_pem)


@pytest.mark.parametrize("fault", ["before_commit", "after_commit"])
def test_kill_9_in_a_commit_loses_and_doubles_nothing(tmp_path: Path, fault: str) -> None:
    """Killed between insert and commit, or between commit and acknowledgement: once each, in full."""
    (tmp_path / "soundings.toml").write_text(CONFIG, encoding="utf-8")
    deaths = asyncio.run(report_until_all_is_durable(tmp_path, fault))
    assert deaths == 3
    con = duckdb.connect(tmp_path / "d" / "soundings.duckdb", read_only=True)
    counts = con.execute(
        "SELECT count(*), count(DISTINCT (seq, total_ms)), min(seq), max(seq) FROM results"
    ).fetchall()
    batches = con.execute("SELECT count(*), sum(row_count) FROM batches").fetchall()
    con.close()
    assert counts == [(REPORTS * ROWS, REPORTS * ROWS, 1, REPORTS)]
    assert batches == [(REPORTS, REPORTS * ROWS)]


def until_said(log: Path, text: str) -> None:
    """Wait until a process has written this."""
    ends_at = time.monotonic() + 20
    while text not in log.read_text():
        assert time.monotonic() < ends_at, log.read_text()


async def until_stalled(path: Path, process: subprocess.Popen[str], ready: str) -> None:
    """A report whose commit never returns, and a first signal that has been heard."""
    probe = await first_probe(path, door(ready, "enrol"))
    async with session(door(ready, "fleet"), probe.channel()) as line:
        await line.hello(sent_at_us=now_us())
        await line.send(batch=batch_of(body_of([row(1, now_us() - SECOND_US)])))
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "stalled\n"
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(until_said, path / "log", "event=stopping")


@pytest.mark.parametrize(
    ("fault", "signals", "code", "said"),
    [
        ("stall", [signal.SIGTERM], 128 + signal.SIGTERM, "stopped_at_once"),
        ("bounded_stall", [], 7, "stop_overran"),
    ],
)
def test_a_stalled_disk_cannot_keep_a_process(
    tmp_path: Path, fault: str, signals: list[signal.Signals], code: int, said: str
) -> None:
    """A second signal ends it at once, and without one it ends within its bound; each says so."""
    (tmp_path / "soundings.toml").write_text(CONFIG, encoding="utf-8")
    with running(tmp_path, fault, 1) as (process, ready):
        asyncio.run(until_stalled(tmp_path, process, ready))
        for number in signals:
            process.send_signal(number)
        assert process.wait(20) == code
    log = (tmp_path / "log").read_text()
    assert log.count(f"event={said} ") == 1
    assert "event=stopped\n" not in log


async def drained(path: Path, ready: str, process: subprocess.Popen[str]) -> list[int]:
    """Reports on their way when the signal comes: what was acknowledged until the farewell."""
    probe = await first_probe(path, door(ready, "enrol"))
    acked = []
    async with session(door(ready, "fleet"), probe.channel()) as line:
        await line.hello(sent_at_us=now_us())
        for seq in range(1, 9):
            rows = [row(1, now_us() - SECOND_US, total_us=seq)]
            await line.send(batch=batch_of(body_of(rows), seq=seq))
        acked.append((await line.receive("ack")).seq)
        process.send_signal(signal.SIGTERM)
        while (message := await line.next()).WhichOneof("message") == "ack":
            acked.append(message.ack.seq)
        assert message.WhichOneof("message") == "drain"
        assert 2000 <= message.drain.retry_after_ms <= 10_000
        assert (await line.ended()).code is grpc.StatusCode.UNAVAILABLE
    return acked


def test_a_signal_ends_it_with_nothing_owed(tmp_path: Path) -> None:
    """Last acknowledgements, then when to come back, then the end: code 0, and what was acknowledged is stored."""
    (tmp_path / "soundings.toml").write_text(CONFIG, encoding="utf-8")
    with running(tmp_path, "none", 1) as (process, ready):
        acked = asyncio.run(drained(tmp_path, ready, process))
        assert process.wait(20) == 0
    con = duckdb.connect(tmp_path / "d" / "soundings.duckdb", read_only=True)
    assert con.execute("SELECT count(*), max(seq) FROM batches").fetchall() == [(max(acked),) * 2]
    con.close()
    assert not (tmp_path / "d" / "soundings.duckdb.wal").exists()
    log = (tmp_path / "log").read_text()
    assert [log.count(f"event={name}") for name in ("stopping", "stopped")] == [1, 1]
    assert log.endswith(" event=stopped\n")  # no library has a word after it


def test_a_running_coordinator_is_named_to_a_second_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second says which process has the directory and what to do, and ends with code 7."""
    (tmp_path / "soundings.toml").write_text(CONFIG, encoding="utf-8")
    with running(tmp_path, "none", 1) as (process, ready):
        assert ready.startswith("ready fleet=127.0.0.1:")
        code = main(
            ["run", "--config", str(tmp_path / "soundings.toml"), "--data", str(tmp_path / "d")]
        )
        assert code == 7
        assert capsys.readouterr().err == (
            f"soundings coordinator: {tmp_path / 'd'}: another coordinator (pid {process.pid}) "
            f"uses this data directory; stop it, or name another --data\n"
        )
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - began < 10
