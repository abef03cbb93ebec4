"""An outage at home that lasts is never learned as normal, and hides nobody else's history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb

from analysis.core.taxonomy import VerdictClass
from analysis.store import Window, judge_store, read_block
from coordinator.core.watermark import Stage
from coordinator.store.judgements import record_verdicts
from tests.fakes import worlds
from tests.fakes.stores import store_of, write_csv

C = VerdictClass
SEED = 1009
WINDOW_BINS = 5
WINDOWS = 60


def _world(cut: Callable[[worlds.Vantage], bool], **settings: int) -> worlds.World:
    return worlds.make_world(
        SEED, worlds.cut_off(cut), history_bins=20, fault_bins=WINDOWS + WINDOW_BINS, **settings
    )


def _judge_in_turn(
    con: duckdb.DuckDBPyConnection, world: worlds.World, *, windows: int
) -> list[VerdictClass]:
    """Sliding windows from the first that lies wholly in the outage, each verdict recorded."""
    found = []
    for number in range(windows):
        since = worlds.START + timedelta(seconds=(world.history_bins + number) * world.bin_s)
        until = since + timedelta(seconds=WINDOW_BINS * world.bin_s)
        verdict = judge_store(
            con,
            service="x",
            component=None,
            window_from=since,
            window_to=until,
            as_of=until + timedelta(seconds=10),
        )
        record_verdicts(con, [verdict], stage=Stage.FINAL)
        found.append(verdict.verdict_class)
    return found


def test_sixty_windows_without_network_all_say_so(tmp_path: Path) -> None:
    """A lone probe that lost its line stays vantage_local for as long as it lasts."""
    world = _world(lambda _one: True, vantages=1, networks=1)
    con = store_of(write_csv(tmp_path / "rows.csv", world.rows()))
    assert _judge_in_turn(con, world, windows=WINDOWS) == [C.VANTAGE_LOCAL] * WINDOWS
    con.close()


def test_a_broken_vantage_point_takes_only_its_own_rows_out_of_history(tmp_path: Path) -> None:
    """While one of twelve is cut off, the others go on teaching what is normal."""
    world = _world(lambda one: one.name == "v05", vantages=12)
    con = store_of(write_csv(tmp_path / "rows.csv", world.rows()))
    assert _judge_in_turn(con, world, windows=8) == [C.VANTAGE_LOCAL] * 8
    since = worlds.START + timedelta(seconds=(world.history_bins + 12) * world.bin_s)
    until = since + timedelta(seconds=world.bin_s)
    block = read_block(
        con, Window(scenario=None, since=since, until=until, as_of=until), service="x"
    )
    heard = {
        one.name: float(block.history.count[block.history.vantage == number].sum())
        for number, one in enumerate(block.vantages)
    }
    assert heard["v05"] < 0.8 * heard["v00"]
    assert min(count for name, count in heard.items() if name != "v05") > 0.95 * heard["v00"]
    con.close()
