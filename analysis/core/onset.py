"""When it began and ended, as intervals that the rows support.

Each affected group contributes its first failing bin and its last clean bin before that. One broken
or lying group could name any instant, so the extreme ones are set aside: with f groups distrusted,
the (f + 1)-th earliest first failure and the (f + 1)-th latest last success count. A row is filed
under its slot, so the resolution is one bin; claiming more would be a guess.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import numpy as np

from analysis.core.block import Block, Bools, Floats
from analysis.core.detect import Segment
from analysis.core.verdict import Interval

CLEAN_BINS: Final = 3  # that many quiet bins make an end
DISTRUST_SHARE: Final = 5  # one group in five affected may be set aside, at most two
MOST_DISTRUSTED: Final = 2


def locate_onset(block: Block, signal: Floats, *, hit: Bools, segment: Segment) -> Interval:
    """The onset from per-group signals [G, bins] of the groups hit."""
    spare = min(int(hit.sum()) // DISTRUST_SHARE, MOST_DISTRUSTED)
    firsts, lasts = [], []
    for line in signal[hit]:
        failing = np.flatnonzero(line[segment.first : segment.last + 1] > 0)
        if len(failing):
            first = segment.first + int(failing[0])
            clean = np.flatnonzero(line[:first] < 0)
            firsts.append(first)
            lasts.append(int(clean[-1]) if len(clean) else 0)
    if not firsts:
        return _interval(block, segment.first, segment.first)
    first = sorted(firsts)[min(spare, len(firsts) - 1)]
    last = sorted(lasts, reverse=True)[min(spare, len(lasts) - 1)]
    return _interval(block, min(first, last), first)


def _interval(block: Block, last_clean: int, first_failing: int) -> Interval:
    return Interval(
        block.at_bin(last_clean), block.at_bin(first_failing + 1), block.at_bin(first_failing)
    )


def locate_end(block: Block, signal: Floats, segment: Segment) -> Interval | None:
    """The end [from the signal of all groups together], or None while it goes on."""
    after = signal[segment.last + 1 :]
    if int((after < 0).sum()) < CLEAN_BINS:
        return None
    step = timedelta(seconds=block.bin_s)
    best = block.at_bin(segment.last + 1)
    return Interval(best - step, best + step, best)
