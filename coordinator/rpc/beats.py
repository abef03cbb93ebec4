"""What a heartbeat says, for those who look now and for the store."""

from __future__ import annotations

from typing import Any

from coordinator.core.registry import FIGURES
from coordinator.store.rows import HeartbeatRow
from proto.model import Heartbeat


def said_in(beat: Heartbeat) -> dict[str, Any]:
    """Its figures by the names that an operator is shown (coordinator.core.registry.Seen)."""
    figures = {name: getattr(beat, name) for name in FIGURES if hasattr(beat, name)}
    return {**figures, "plan_version": beat.plan_version or None}


def row_of(beat: Heartbeat, *, probe_id: str, received_at_us: int) -> HeartbeatRow:
    """Its row in the table `heartbeats`."""
    lateness, drift = beat.lateness_us_p99, beat.clock_drift_ppb
    return HeartbeatRow(
        received_at_us=received_at_us,
        sent_at_us=beat.sent_at_us,
        probe_id=probe_id,
        plan_version=beat.plan_version or None,  # 0 = it follows none
        uptime_s=beat.uptime_s,
        rss_bytes=beat.rss_bytes,
        cpu_s=beat.cpu_s,
        spool_bytes=beat.spool_bytes,
        spool_rows=beat.spool_rows,
        evicted_rows=beat.evicted_rows,
        queue_depth=beat.queue_depth,
        lateness_ms_p99=None if lateness is None else lateness / 1000,
        receive_drops=beat.receive_drops,
        clock_synchronised=beat.clock_synchronised,
        overloaded_slots=beat.overloaded_slots,
        clock_drift_ppm=None if drift is None else drift / 1000,
        translated=beat.translated,
    )
