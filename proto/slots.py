"""When the slots of a check fall due: a contract, since both ends must name the same instants.

A slot is the start of an interval on the wall clock, shifted by a phase that depends on the probe
and the check alone. So a target is never hit by the whole fleet at one instant, a restarted probe
finds its slots again, and the coordinator can say which slots never came (`unreported`) without
asking.
"""

from __future__ import annotations

import hashlib


def phase_us(probe_id: str, check_no: int, interval_us: int) -> int:
    """Offset of this probe's slots from the grid of the interval, in [0, interval_us).

    Uniform over probes: the first 8 bytes of a SHA-256, which is the same on every machine.
    """
    digest = hashlib.sha256(f"{probe_id}/{check_no}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % interval_us


def first_slot_us(after_us: int, *, interval_us: int, phase: int) -> int:
    """The first slot at or after `after_us` (microseconds since 1970-01-01 UTC)."""
    return after_us + (phase - after_us) % interval_us
