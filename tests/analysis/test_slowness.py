"""Slowness that unrelated targets share is the vantage point's own; what is left is the target's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from analysis.core.taxonomy import VerdictClass
from analysis.store import Window, judge_store, read_block
from tests.fakes import worlds
from tests.fakes.stores import store_of, write_csv

C = VerdictClass
SEED = 1009
SLOW = 1


def _world(fault: worlds.Fault | None) -> worlds.World:
    return worlds.make_world(SEED, fault, vantages=12)


def _start(world: worlds.World) -> Any:
    return worlds.START + timedelta(seconds=world.history_bins * world.bin_s)


def _end(world: worlds.World) -> Any:
    return _start(world) + timedelta(seconds=world.fault_bins * world.bin_s)


def _busy(world: worlds.World, low: float, high: float, **only: str) -> Iterator[dict[str, Any]]:
    """The world's rows with all web answers late by some factor once the window begins."""
    chance = random.Random(SEED)
    for row in world.rows():
        picked = all(row[name] == value for name, value in only.items())
        late = row["kind"] == "http" and row["rtt_ms"] and row["slot_at"] >= _start(world)
        if late and picked:
            row["rtt_ms"] *= chance.uniform(low, high)
        yield row


def _judged(path: Path, world: worlds.World, rows: Iterator[dict[str, Any]]) -> dict[str, str]:
    con = store_of(write_csv(path / "rows.csv", rows))
    found = {
        component or "x": judge_store(
            con,
            service="x",
            component=component,
            window_from=_start(world),
            window_to=_end(world),
        ).verdict_class.value
        for component in ("spaces", "page", "api", None)
    }
    con.close()
    return found


@pytest.mark.parametrize(("low", "high"), [(1.5, 2.5), (2.5, 4.0)])
def test_a_busy_machine_accuses_nobody(tmp_path: Path, low: float, high: float) -> None:
    """All web answers late everywhere, and nothing wrong with the service: healthy."""
    world = _world(None)
    found = _judged(tmp_path, world, _busy(world, low, high))
    assert set(found.values()) == {"healthy"}


@pytest.mark.parametrize(
    ("fault", "truth"),
    [(worlds.overloads, "overload"), (worlds.breaks, "application_component")],
)
def test_a_real_fault_shows_through_shared_slowness(
    tmp_path: Path, fault: worlds.Ends, truth: str
) -> None:
    """Spaces overloads while all is late: spaces is named, its siblings are not."""
    world = _world(worlds.only("spaces", fault))
    found = _judged(tmp_path, world, _busy(world, 1.5, 2.5))
    assert found == {"spaces": truth, "x": truth, "page": "healthy", "api": "healthy"}


def test_slowness_of_the_target_alone_stays_slow(tmp_path: Path) -> None:
    """What the controls do not share counts as before."""
    world = _world(None)
    con = store_of(write_csv(tmp_path / "rows.csv", _busy(world, 4.0, 8.0, component="spaces")))
    window = Window(
        scenario=None,
        since=_start(world),
        until=_end(world),
        as_of=_end(world) + timedelta(hours=1),
    )
    block = read_block(con, window, service="x")
    slow = block.window.where(block.window.outcome == SLOW)
    late = {block.targets[int(number)].component for number in slow.target}
    assert late == {"spaces"}
    assert slow.count.sum() > 0.9 * 12 * world.fault_bins
    con.close()


def test_with_too_few_controls_nothing_is_taken_off(tmp_path: Path) -> None:
    """Two controls may both be late by themselves: slowness is then judged on its own history."""
    world = _world(None)
    world.targets = [one for one in world.targets if one.component not in _CONTROLS[2:]]
    con = store_of(write_csv(tmp_path / "rows.csv", _busy(world, 4.0, 8.0)))
    window = Window(
        scenario=None,
        since=_start(world),
        until=_end(world),
        as_of=_end(world) + timedelta(hours=1),
    )
    block = read_block(con, window, service="x")
    slow = block.window.where(block.window.outcome == SLOW)
    assert len(set(slow.target.tolist())) == len(world.targets)
    con.close()


_CONTROLS = tuple(f"anchor-{number}" for number in range(8))
