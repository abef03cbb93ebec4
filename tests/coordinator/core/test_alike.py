"""Rows that are alike get one number, and no others do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.alike import alike_rows

WIDE = (1 << 32) - 1
VALUES = st.sampled_from([0, 1, 2, WIDE - 1, WIDE])


@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(st.tuples(*[VALUES] * width), min_size=1, max_size=40)
    )
)
def test_two_rows_are_of_one_kind_when_all_their_values_are_equal(
    rows: list[tuple[int, ...]],
) -> None:
    """However wide the columns: five of 32 bits each do not fit one number, and nothing is lost."""
    columns = [np.array(column, dtype=np.uint32) for column in zip(*rows, strict=True)]
    firsts, kinds = alike_rows(columns, len(rows))
    assert [rows[firsts[kind]] for kind in kinds] == rows
    assert len(firsts) == len(set(rows))
