"""A fleet whose coordinator is killed."""

from __future__ import annotations

from pathlib import Path

from tests.bench.ingest_herd import Pace, kill_and_wait

PROBES = 40


def test_everybody_comes_back_and_no_report_is_lost_or_doubled(tmp_path: Path) -> None:
    """After kill -9 each lost session is tried again until it is welcomed, and what was owed is sent again."""
    pace = Pace(period_s=0.2, settled_s=1.0, down_s=0.0, base_s=0.3, cap_s=1.5)
    herd = kill_and_wait(tmp_path, PROBES, pace)
    assert (herd.back, herd.wrong_rows) == (PROBES, 0)
    assert sum(herd.failures.values()) == herd.attempts >= PROBES
    assert 0 < herd.s_p50 <= herd.s_p99
