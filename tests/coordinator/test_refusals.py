"""Whom the coordinator refused: all are counted, not all have a line."""

from __future__ import annotations

from typing import Any

import structlog

from coordinator.core.doorway import Refusal
from coordinator.refusals import LINES, Refusals


def test_whoever_is_refused_for_ever_does_not_fill_the_log() -> None:
    """Everything is counted; the lines stop, and the next one says how many there would have been."""
    lines: list[dict[str, Any]] = []
    now_us = [0]

    def keep(_logger: object, _method: str, line: Any) -> Any:
        lines.append(dict(line))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    refusals = Refusals(lambda: now_us[0])
    for _ in range(LINES.burst + 40):
        refusals.note("enrol", Refusal.BAD_TOKEN, who="192.0.2.1", reason="token unknown")
    refusals.note("fleet", Refusal.NO_CALL, who="192.0.2.2", times=7)
    assert len(lines) == LINES.burst + 1
    assert lines[0] == {
        "event": "refused",
        "door": "enrol",
        "refusal": "bad_token",
        "who": "192.0.2.1",
        "times": 1,
        "reason": "token unknown",
    }
    assert (lines[-1]["times"], lines[-1]["unsaid"]) == (7, 40)
    assert dict(refusals.counts) == {
        ("enrol", "bad_token"): LINES.burst + 40,
        ("fleet", "no_call"): 7,
    }
