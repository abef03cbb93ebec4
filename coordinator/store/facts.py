"""What many rows say alike is stored once, and the rows name it by number.

Of a result's 44 columns 28 are words, small counts and names that thousands of rows share to the
last: a fleet's rows of an hour have a few hundred combinations of them. Stored with every row they
cost most of an insert, of the log and of a checkpoint. The numbers are kept in memory, by value;
when there are too many, all are forgotten and given anew: a combination may stand in the table
twice, under two numbers, and no reader can tell.

The table itself is not pruned: every fact is named by a row at least, and rows are kept. Where each row has
an address of its own it has as many facts as rows, which then cost what rows that share nothing cost: four
times the processor of usual ones, in proportion to their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt

from coordinator.core.alike import alike_rows
from coordinator.core.intake import Integers
from coordinator.store.statements import statement
from proto.columns import COLUMNS, Column, Encoding

OWN: Final = frozenset({
    "rtt_us_min", "rtt_us_median", "rtt_us_max", "resolve_us", "connect_us", "tls_us",
    "first_byte_us", "total_us", "body_bytes", "body_sha256", "location", "dns_ttl_s", "answers",
    "lateness_us", "clock_offset_us", "clock_error_us",
})  # fmt: skip
"""Columns that nearly every row has otherwise; they stay with the row."""

SHARED: Final[tuple[Column, ...]] = tuple(c for c in COLUMNS if c.name not in OWN)
"""The columns of `result_facts`, in its order."""

FACTS_MAX: Final = 100_000
"""Combinations held in memory, some 50 MB: what thousands of targets behind moving addresses need."""

Values = tuple[str | int | bool | None, ...]
Numbers = npt.NDArray[np.uint32]


@dataclass(slots=True)
class Facts:
    """The combinations that have a number. `last` is the highest number ever given, `limit` how many are held."""

    last: int = 0
    numbers: dict[Values, int] = field(default_factory=dict)
    limit: int = FACTS_MAX

    def learn(self, fresh: Sequence[Values]) -> None:
        """These are durable now, under the numbers that `number_facts` gave them."""
        if len(self.numbers) + len(fresh) > self.limit:
            self.numbers.clear()
        self.numbers.update(
            zip(fresh, range(self.last + 1, self.last + 1 + len(fresh)), strict=True)
        )
        self.last += len(fresh)


def read_facts(con: duckdb.DuckDBPyConnection) -> Facts:
    """The newest combinations that the store has."""
    found = con.execute(statement("read_facts"), {"limit": FACTS_MAX}).fetchall()
    return Facts(max((row[0] for row in found), default=0), {row[1:]: row[0] for row in found})


def number_facts(
    columns: Mapping[str, Integers], texts: Sequence[str], facts: Facts
) -> tuple[Numbers, list[Values]]:
    """The number of each row's combination, and the combinations that have none yet, in their order.

    `columns` are encoded as on the wire, those of text as 1-based places in `texts`.
    """
    shared = [columns[column.name] for column in SHARED]
    firsts, kinds = alike_rows(shared, len(shared[0]))
    told = zip(
        *(_decoded(c, values[firsts], texts) for c, values in zip(SHARED, shared, strict=True)),
        strict=True,
    )
    fresh: dict[Values, int] = {}
    numbers = []
    for values in told:
        number = facts.numbers.get(values) or fresh.get(values)
        if number is None:
            number = fresh[values] = facts.last + len(fresh) + 1
        numbers.append(number)
    return np.array(numbers, dtype=np.uint32)[kinds], list(fresh)


def _decoded(column: Column, values: Integers, texts: Sequence[str]) -> list[Any]:
    found = values.tolist()
    if column.encoding is Encoding.PLAIN:
        return [column.words[v].value for v in found] if column.words else found
    if column.encoding is Encoding.TEXT:
        return [texts[v - 1] if v else None for v in found]
    if column.words:
        return [column.words[v - 1].value if v else None for v in found]
    if column.boolean:
        return [v > 1 if v else None for v in found]
    return [v - 1 if v else None for v in found]


def insert_facts(con: duckdb.DuckDBPyConnection, fresh: Sequence[Values], facts: Facts) -> None:
    """Store combinations under the next numbers, in the caller's transaction."""
    if not fresh:
        return
    values: dict[str, list[Any]] = {
        column.name: list(held)
        for column, held in zip(SHARED, zip(*fresh, strict=True), strict=True)
    }
    values["fact_no"] = [facts.last + 1 + n for n in range(len(fresh))]
    con.execute(statement("insert_facts"), values).fetchall()
