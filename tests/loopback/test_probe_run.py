"""`soundings probe run` as a process of its own, killed and restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from probe.core.spool import parse_segment_name
from probe.exits import Exit
from proto.model import Kind, Plan, State
from tests.fakes.fleet import Coordinator
from tests.fakes.ledgers import a_check
from tests.fakes.vantage import enrolled

ROOT = Path(__file__).resolve().parents[2]
TOML = """
allow_networks = ["127.0.0.0/8"]
[limits]
per_target_per_minute = 6000
[link]
backoff_base_s = 0.1
backoff_cap_s = 0.3
"""


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    """A fake coordinator whose plan connects to its own fleet door four times a second."""
    with Coordinator() as made:
        checks = (
            a_check(1, host="127.0.0.1", port=made.fleet_port, interval_s=0.5, timeout_s=1),
            a_check(2, host="127.0.0.1", kind=Kind.TCP, port=made.enrol_port, interval_s=0.5),
        )
        made.behaviour.plan = Plan(version=3, checks=checks, heartbeat_s=0.5, flush_s=0.2)
        yield made


@contextmanager
def running(
    state: Path, *, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A probe process; killed at the end if it still runs."""
    (state / "probe.toml").write_text(TOML)
    with (state / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "soundings", "probe", "run", "--state", str(state)],
            cwd=ROOT,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def terminated(process: subprocess.Popen[bytes]) -> int:
    """Its exit code after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    return process.wait(20)


def segments(state: Path) -> list[tuple[int, int]]:
    """(epoch, first seq) of the spool's files."""
    spool = state / "spool"
    names = spool.iterdir() if spool.exists() else ()
    found = (parse_segment_name(path.name) for path in names)
    return sorted(place for place in found if place is not None)


def wait_for_segments(state: Path) -> None:
    """Until something was spooled."""
    deadline_s = time.monotonic() + 20
    while not segments(state):
        assert time.monotonic() < deadline_s
        os.sched_yield()


def test_a_probe_measures_reports_and_stops_cleanly(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Rows arrive measured, with their clock; SIGTERM ends it with exit code 0."""
    with running(enrolled(tmp_path, coordinator)) as process:
        coordinator.wait(lambda s: len(s.rows) >= 12)
        assert terminated(process) == 0
    rows = coordinator.seen.rows
    assert {row.state for row in rows} == {State.MEASURED}
    assert {row.check_no for row in rows} == {1, 2}
    assert rows[-1].clock_offset_us is not None
    assert abs(rows[-1].clock_offset_us) < 100_000
    beat = coordinator.seen.heartbeats[-1]
    assert (beat.plan_version, beat.evicted_rows) == (3, 0)
    assert beat.rss_bytes > 10 << 20
    assert "event=stopped" in (tmp_path / "log").read_text()


def test_a_second_probe_of_one_state_directory_is_refused(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """It ends with code 7 and the first one's pid; the first one measures on, and ends as ever."""
    with running(enrolled(tmp_path, coordinator)) as first:
        coordinator.wait(lambda s: len(s.rows) >= 2)
        with running(tmp_path) as second:
            assert second.wait(20) == Exit.STATE_UNUSABLE
        assert f"another probe (pid {first.pid}) runs" in (tmp_path / "log").read_text()
        seen = len(coordinator.seen.rows)
        coordinator.wait(lambda s: len(s.rows) > seen)
        assert terminated(first) == 0
    assert len(coordinator.seen.hellos) == 1


def test_kill_9_of_the_probe_loses_no_stored_row_and_doubles_none(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Killed again and again: every report that reached the disk arrives, exactly once."""
    enrolled(tmp_path, coordinator)
    for round_no in range(1, 5):
        with running(tmp_path) as process:
            coordinator.wait(lambda s, n=round_no: len(s.rows) >= 8 * n)  # type: ignore[misc]
            process.kill()
            process.wait()
    with running(tmp_path) as process:
        coordinator.wait(lambda s: len(s.hellos) >= 5 and len(s.rows) >= 36)
        assert terminated(process) == 0
    counts = Counter((row.check_no, row.slot_at_us) for row in coordinator.seen.rows)
    assert max(counts.values()) == 1
    assert len({hello.epoch for hello in coordinator.seen.hellos}) == 5
    for epoch, mark in coordinator.seen.marks.items():
        seqs = {batch.seq for batch in coordinator.seen.batches if batch.epoch == epoch}
        assert seqs == set(range(1, mark + 1))


def test_the_stored_plan_is_measured_while_the_coordinator_is_away(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """A reboot of the machine during an outage of the coordinator costs no slots."""
    with running(enrolled(tmp_path, coordinator)) as process:
        coordinator.wait(lambda s: len(s.rows) >= 4)
        terminated(process)
    coordinator.stop()
    before = len(coordinator.seen.rows)
    left = segments(tmp_path)
    with running(tmp_path) as process:
        deadline_s = time.monotonic() + 20
        while len(set(segments(tmp_path)) - set(left)) < 1:
            assert time.monotonic() < deadline_s
            os.sched_yield()
        coordinator.start()
        coordinator.wait(lambda s: len(s.rows) >= before + 8)
        assert terminated(process) == 0


def test_systemd_is_told_of_start_life_and_stop(coordinator: Coordinator, tmp_path: Path) -> None:
    """READY once it measures, WATCHDOG while its loop turns, STOPPING at the end."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(20)
        state = enrolled(tmp_path / "state", coordinator)
        environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        with running(state, environment=environment) as process:
            heard = [listener.recv(100) for _ in range(4)]
            assert terminated(process) == 0
        while heard[-1] != b"STOPPING=1":
            heard.append(listener.recv(100))
    assert heard[0] == b"READY=1"
    assert set(heard[1:-1]) == {b"WATCHDOG=1"}
