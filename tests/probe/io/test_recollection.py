from __future__ import annotations

from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from probe.core.memory import KEEP_S
from probe.io.recollection import FILE, SAVE_EVERY_S, Recollection
from probe.io.state import StateDirectory

NOW_US = 10**15
NAME, ADDRESS = "www.example.test", "192.0.2.1"


def opened(path: Path, *, now_us: int = NOW_US) -> Recollection:
    """What a probe that starts at this instant remembers."""
    return Recollection(StateDirectory(path), wall=lambda: now_us)


def recalled(recollection: Recollection, *, now_us: int = NOW_US) -> tuple[str, ...]:
    """The addresses of the one name."""
    return recollection.memory.recall(NAME, family=4, now_us=now_us)


async def test_a_restart_keeps_what_was_saved(tmp_path: Path) -> None:
    """For a day, whatever happens to the process."""
    first = opened(tmp_path)
    assert recalled(first) == ()
    first.memory.remember(NAME, [ADDRESS], family=4, now_us=NOW_US)
    await first.save()
    assert recalled(opened(tmp_path)) == (ADDRESS,)
    day_later_us = NOW_US + KEEP_S * 1_000_000
    assert recalled(opened(tmp_path, now_us=day_later_us), now_us=day_later_us) == ()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 1, "names": [[1]]}'])
async def test_a_damaged_file_is_an_empty_memory_and_a_line(tmp_path: Path, damage: bytes) -> None:
    """The probe starts, says what it lost, and writes a good file next time."""
    (tmp_path / FILE).write_bytes(damage)
    with capture_logs() as logs:
        found = opened(tmp_path)
    assert recalled(found) == ()
    assert [(line["event"], line["file"]) for line in logs] == [("addresses_forgotten", FILE)]
    found.memory.remember(NAME, [ADDRESS], family=4, now_us=NOW_US)
    await found.save()
    assert recalled(opened(tmp_path)) == (ADDRESS,)


async def test_a_file_that_cannot_be_read_is_an_empty_memory_and_a_line(tmp_path: Path) -> None:
    """Nor does what stands in its place keep a probe from starting."""
    (tmp_path / FILE).mkdir()
    with capture_logs() as logs:
        found = opened(tmp_path)
    assert recalled(found) == ()
    assert [line["event"] for line in logs] == ["addresses_forgotten"]


async def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    """The disk of a small machine is spared."""
    found = opened(tmp_path)
    found.memory.remember(NAME, [ADDRESS], family=4, now_us=NOW_US)
    await found.save()
    (tmp_path / FILE).unlink()
    await found.save()
    assert not (tmp_path / FILE).exists()


async def test_a_directory_that_is_gone_is_told_and_survived(tmp_path: Path) -> None:
    """A full or lost disk costs the control, never the probe."""
    found = opened(tmp_path / "gone")
    with capture_logs() as logs:
        await found.save()
    assert [line["event"] for line in logs] == ["addresses_not_saved"]


async def test_it_is_saved_now_and_then(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A crash costs ten minutes of memory at most."""
    found = opened(tmp_path)
    found.memory.remember(NAME, [ADDRESS], family=4, now_us=NOW_US)
    with trio.move_on_after(SAVE_EVERY_S + 1):
        await found.run()
    assert recalled(opened(tmp_path)) == (ADDRESS,)
