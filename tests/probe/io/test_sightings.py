"""How the coordinator sees a probe, kept for its heartbeats and for `doctor`."""

from __future__ import annotations

from pathlib import Path

import structlog

from probe.core.sighting import Sighting
from probe.io.sightings import FILE, Sightings, kept_sighting
from probe.io.state import StateDirectory


async def test_a_translated_address_is_said_once_and_kept(tmp_path: Path) -> None:
    """Until the first session nothing is known; each change is logged and on disk, a repetition not."""
    state = StateDirectory(tmp_path)
    sightings = Sightings(state)
    assert sightings.translated is None
    assert kept_sighting(state) is None
    with structlog.testing.capture_logs() as logs:
        await sightings.note("10.0.0.7", "192.0.2.7")
        await sightings.note("10.0.0.7", "192.0.2.7")
    assert [(entry["event"], entry["coordinator_sees"]) for entry in logs] == [
        ("behind_nat", "192.0.2.7")
    ]
    assert sightings.translated is True
    assert kept_sighting(state) == Sighting("10.0.0.7", "192.0.2.7")
    await sightings.note("192.0.2.7", "192.0.2.7")
    assert sightings.translated is False
    assert kept_sighting(state) == Sighting("192.0.2.7", "192.0.2.7")


async def test_a_coordinator_that_says_no_address_leaves_it_unknown(tmp_path: Path) -> None:
    """What was known of the session before is not taken for this one; the file stays for people."""
    state = StateDirectory(tmp_path)
    sightings = Sightings(state)
    await sightings.note("192.0.2.7", "192.0.2.7")
    await sightings.note("192.0.2.7", "")
    assert sightings.translated is None
    assert kept_sighting(state) == Sighting("192.0.2.7", "192.0.2.7")


async def test_a_state_that_takes_nothing_does_not_end_a_session(tmp_path: Path) -> None:
    """What cannot be written is said."""
    (tmp_path / f".{FILE}.new").mkdir()
    sightings = Sightings(StateDirectory(tmp_path))
    with structlog.testing.capture_logs() as logs:
        await sightings.note("192.0.2.7", "192.0.2.7")
    assert [entry["event"] for entry in logs] == ["sighting_not_kept"]
    assert sightings.translated is False
