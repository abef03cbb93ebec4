"""A coordinator's process under SIGSTOP: its kernel still takes connections, nobody answers."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import duckdb

from tests.fakes.commands import WAIT_S, command, line_with, running, soundings, terminated

CONFIG = """
[coordinator]
fleet = "127.0.0.1:0"
enrol = "127.0.0.1:0"
web = ""
[judging]
bin_s = 1
provisional_s = 2
[defaults]
interval_s = 1
timeout_s = 1
confirm_after_s = []
trace = false
remembered = false
[limits]
per_target_per_minute = 60
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "http://127.0.0.1:1/"
kinds = ["tcp"]
"""
PROBE = """
allow_networks = ["127.0.0.0/8"]
[link]
backoff_base_s = 0.1
backoff_cap_s = 0.3
reply_deadline_s = 1.0
"""
HEARTBEAT_S = 5.0
"""What the coordinator's plan says with bins of a second."""

SLACK_S = 3.0
"""For processes on a busy machine; keepalive alone would take over a minute."""


def seqs(log: Path, event: str) -> list[int]:
    """The numbers of the reports that this was said of."""
    return [int(seq) for seq in re.findall(rf"event={event} .*?\bseq=(\d+)", log.read_text())]


def test_a_stopped_coordinator_costs_no_row(tmp_path: Path) -> None:
    """Noticed by the probe's own question; it measures and spools on; all arrives once afterwards."""
    config, data, state = tmp_path / "soundings.toml", tmp_path / "d", tmp_path / "probe"
    config.write_text(CONFIG)
    serving, log = tmp_path / "coordinator.log", tmp_path / "probe.log"
    run = command("coordinator", "run", "--config", config, "--data", data)
    with running(run, serving) as coordinator:
        ready = line_with(serving, "ready fleet=", process=coordinator)
        door = dict(part.split("=") for part in ready.split()[1:])["enrol"]
        made = soundings("coordinator", "token", "create", "--asn", "64512", "--data", data)
        token = made.stdout.strip()
        assert (
            soundings("probe", "enrol", "--coordinator", door, token, "--state", state).returncode
            == 0
        )
        (state / "probe.toml").write_text(PROBE)
        with running(command("probe", "run", "--state", state), log) as probe:
            line_with(log, "event=report_acked", process=probe)
            coordinator.send_signal(signal.SIGSTOP)
            began_s = time.monotonic()
            ended = line_with(log, "event=session_ended", process=probe)
            assert "no answer to a clock question within 1 s" in ended
            assert time.monotonic() - began_s < HEARTBEAT_S + 1.0 + SLACK_S
            again = line_with(log, "no welcome within 1 s", process=probe, after=ended)
            line_with(log, "event=report_stored", process=probe, after=again)
            stored = seqs(log, "report_stored")[-1]
            coordinator.send_signal(signal.SIGCONT)
            ended_s = time.monotonic() + WAIT_S
            while seqs(log, "report_acked")[-1] < stored:
                assert time.monotonic() < ended_s
                os.sched_yield()
            assert terminated(probe) == 0
        assert terminated(coordinator) == 0
    assert "rows_evicted" not in log.read_text()
    with duckdb.connect(data / "soundings.duckdb", read_only=True) as con:
        rows, slots, span_s = con.execute(
            "SELECT count(*), count(DISTINCT slot_at), "
            "date_diff('second', min(slot_at), max(slot_at)) + 1 FROM results"
        ).fetchall()[0]
        gaps = con.execute("SELECT max(seq) - count(*) FROM batches GROUP BY epoch").fetchall()
    assert rows == slots == span_s >= 5
    assert gaps == [(0,)]
