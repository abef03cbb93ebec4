"""What rows say alike is numbered once, and the numbers are never given twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from coordinator.core.intake import BatchName
from coordinator.store.commit import Fate
from coordinator.store.facts import FACTS_MAX, SHARED, Facts
from coordinator.store.open import open_store
from tests.fakes.coordinator_store import Fates, a_store, ask, submit
from tests.fakes.reports import failed, row


def test_the_table_of_facts_has_the_columns_that_are_shared(tmp_path: Path) -> None:
    """In their order: a combination is read back as the values by which it is known."""
    opened = open_store(tmp_path / "s.duckdb")
    try:
        held = [name for name, *_ in opened.root.execute("DESCRIBE result_facts").fetchall()]
    finally:
        opened.close()
    assert held == ["fact_no", *(column.name for column in SHARED)]


async def _commit(tmp_path: Path, seq: int) -> list[tuple[int, int]]:
    async with a_store(tmp_path) as store:
        fates = Fates()
        submit(store, fates, [row(2), row(3), failed(4)], BatchName("p1", 7, seq))
        assert await fates.wait(1) == [Fate.COMMITTED]
        return ask(store, "SELECT count(*), max(fact_no) FROM result_facts")


def test_a_combination_is_stored_once(tmp_path: Path) -> None:
    """Also over a restart: rows that say the same have one number."""
    assert asyncio.run(_commit(tmp_path, 1)) == [(2, 2)]
    assert asyncio.run(_commit(tmp_path, 2)) == [(2, 2)]


def test_too_many_are_forgotten_and_no_number_comes_again() -> None:
    """Memory is bounded whatever probes send; numbers go on."""
    facts = Facts(last=FACTS_MAX, numbers={(n,): n for n in range(FACTS_MAX)})
    facts.learn([("a",)])
    assert facts == Facts(last=FACTS_MAX + 1, numbers={("a",): FACTS_MAX + 1})
