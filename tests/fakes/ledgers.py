"""Checks and rows with defaults, for tests that care about one of their fields."""

from __future__ import annotations

from typing import Any

from proto.model import Check, Kind, Result, State

START_US = 1_750_000_000_000_000
"""An instant in 2025 that lies on no grid."""


def a_check(check_no: int = 1, **fields: Any) -> Check:
    """A TCP check every 30 s."""
    given: dict[str, Any] = {
        "check_no": check_no,
        "check_id": f"check-{check_no}",
        "kind": Kind.TCP,
        "host": "target.test",
        "port": 443,
        **fields,
    }
    return Check(**given)


def a_row(slot_at_us: int = START_US, **fields: Any) -> Result:
    """A good TCP row."""
    given: dict[str, Any] = {
        "check_no": 1,
        "slot_at_us": slot_at_us,
        "started_at_us": slot_at_us + 500,
        "state": State.MEASURED,
        "address": "192.0.2.1",
        "port": 443,
        "sent": 1,
        **fields,
    }
    return Result(**given)
