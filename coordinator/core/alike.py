"""Which rows of a set of columns are alike, exactly: a table of names is written once, not per row.

Rows are numbered by a mixed radix over the columns' ranges. A column in which all rows agree costs a
look; where the numbers would outgrow 63 bits, those so far are renumbered by rank first, which
loses nothing. A hash would be shorter and, with hostile rows, wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]
Positions = npt.NDArray[np.intp]

_SPAN_MAX: Final = 1 << 62


def alike_rows(columns: Iterable[Integers], count: int) -> tuple[Positions, Positions]:
    """One row of each kind, and for every row the place of its kind among them.

    `columns` have `count` rows, at least one, with values from 0 to 2^32 - 1.
    """
    code, span = np.zeros(count, dtype=np.int64), 1
    for column in columns:
        low = int(column.min())
        width = int(column.max()) - low + 1
        if width <= 1:
            continue
        if span > _SPAN_MAX // width:
            ranks, code = np.unique(code, return_inverse=True)
            span = len(ranks)
        code = code * width + (column.astype(np.int64) - low)
        span *= width
    _, firsts, kinds = np.unique(code, return_index=True, return_inverse=True)
    return firsts, kinds
