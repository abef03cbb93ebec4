"""Memory that the store gives back while nobody reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.store.open import Opened, open_store

NOISE = "CREATE TABLE noise AS SELECT hash(i) AS h FROM range(2000000) AS r(i)"
"""Sixteen megabytes that no compression makes fewer."""

HELD = "SELECT coalesce(sum(memory_usage_bytes), 0) FROM duckdb_memory()"
LIMIT = "SELECT current_setting('memory_limit')"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """An open store whose file is cached."""
    store = open_store(tmp_path / "soundings.duckdb")
    store.writer.execute(NOISE).fetchall()
    store.writer.execute("CHECKPOINT").fetchall()
    store.writer.execute("SELECT sum(h) FROM noise").fetchall()
    yield store
    store.close()


def held_mb(opened: Opened) -> float:
    """What DuckDB holds in memory."""
    return float(opened.writer.execute(HELD).fetchall()[0][0]) / 1e6


def test_cached_blocks_go_when_nobody_reads(opened: Opened) -> None:
    """Beyond the limit they are dropped and read again when needed; the limit for questions stays."""
    before, limit = held_mb(opened), opened.writer.execute(LIMIT).fetchall()
    assert before > 15
    assert opened.trim("8MB")
    assert held_mb(opened) < 8.1
    assert opened.writer.execute(LIMIT).fetchall() == limit
    assert opened.writer.execute("SELECT count(h) FROM noise").fetchall() == [(2_000_000,)]


def test_a_reader_keeps_its_memory(opened: Opened) -> None:
    """While a cursor is out nothing is dropped: the lower limit would be its question's as well."""
    before = held_mb(opened)
    with opened.readers.lend():
        assert not opened.trim("8MB")
        assert held_mb(opened) == pytest.approx(before, rel=0.1)
    assert opened.trim("8MB")
