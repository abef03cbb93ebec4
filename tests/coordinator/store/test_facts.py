"""What rows say alike is numbered once, and the numbers are never given twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.intake import BatchName, Integers
from coordinator.store.commit import Fate
from coordinator.store.facts import FACTS_MAX, SHARED, Facts, number_facts
from coordinator.store.open import open_store
from tests.fakes.coordinator_store import Fates, a_store, ask, submit
from tests.fakes.reports import NOW_US, SECOND_US, failed, row


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


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), max_size=12))
def test_numbers_are_unique_whatever_comes_in_which_order(groups: list[list[int]]) -> None:
    """No number is given twice, one that is known is given again, and no more than the limit is held."""
    facts = Facts(limit=16)
    given_to: dict[int, int] = {}  # address by number
    for group in groups:
        columns = _columns(group)
        numbers, fresh = number_facts(columns, [f"10.0.0.{n}" for n in range(31)], facts)
        for address, number in zip(group, numbers.tolist(), strict=True):
            assert given_to.setdefault(number, address) == address
        facts.learn(fresh)
        assert len(facts.numbers) <= max(facts.limit, len(fresh))
        assert facts.last == max(given_to)


def _columns(addresses: list[int]) -> dict[str, Integers]:
    """The shared columns of rows that differ in their address alone."""
    columns = {c.name: np.ones(len(addresses), dtype=np.uint64) for c in SHARED}
    return columns | {"address": np.array(addresses, dtype=np.uint64) + np.uint64(1)}


def test_an_address_for_every_row_costs_a_fact_for_every_row_and_no_more(tmp_path: Path) -> None:
    """Behind unbounded addresses the table grows by a fact per row, each with its own number and address."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            fates = Fates()
            for seq in range(1, 4):
                rows = [
                    row(
                        1,
                        NOW_US - SECOND_US * (10 * seq) - n,
                        address=f"10.{seq}.{n >> 8}.{n & 255}",
                    )
                    for n in range(1000)
                ]
                submit(store, fates, rows, BatchName("p1", 7, seq))
            await fates.wait(3)
            facts = ask(
                store, "SELECT count(*), count(DISTINCT fact_no), max(fact_no) FROM result_facts"
            )
            assert facts == [(3000, 3000, 3000)]
            found = ask(store, "SELECT count(*), count(DISTINCT address) FROM results")
            assert found == [(3000, 3000)]

    asyncio.run(scenario())
