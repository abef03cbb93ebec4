"""Checks with defaults, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any

from proto.model import Check, Kind


def check(kind: Kind = Kind.TCP, **fields: Any) -> Check:
    """A check of this kind against 127.0.0.1, ending within two seconds."""
    values: dict[str, Any] = {
        "check_no": 7,
        "check_id": "x",
        "host": "127.0.0.1",
        "timeout_s": 2.0,
        **fields,
    }
    return Check(kind=kind, **values)
