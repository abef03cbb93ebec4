"""What each cell normally does: its own history, shrunk towards its peers', shrunk towards typical.

The naive baseline, failures over attempts, says "never fails" after ten good answers, and then one
lost packet is a miracle. Here a cell's own counts are joined by `OWN_WEIGHT` pseudo-attempts that
behave as all vantages of that target do together, and those by `POOL_WEIGHT` pseudo-attempts that
behave as hosts typically do. Counts arrive decayed by age (`HALF_LIFE_S`), without the bins of known
incidents. A floor `ETA` keeps every outcome possible.

A channel that normally fails (a host that never answers ICMP) is not informative and drops out by
itself: its evidence would be about our history, not about the present.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core.block import Block, Bools, Floats
from analysis.core.emission import typical, with_unspecific
from analysis.core.outcomes import GOOD, OUTCOMES, SLOW

HALF_LIFE_S: Final = 3 * 86_400.0  # three days: long against a fault, short against a redesign
OWN_WEIGHT: Final = 60.0
POOL_WEIGHT: Final = 200.0
ETA: Final = 0.005
MIN_GOOD: Final = 0.6  # below this a channel is silent by nature
# Pooled attempts per (target, channel). A single cell's history may be a handful of attempts; what
# counts is that the target's normal behaviour has been seen at all, from all vantages together.
MIN_ATTEMPTS: Final = 100


@dataclass(frozen=True, slots=True)
class Baseline:
    """Per channel: outcome probabilities [V, T, outcomes + unspecific], and which cells can speak."""

    tables: tuple[Floats, ...]
    informative: tuple[Bools, ...]
    pooled_enough: Bools  # [T, channels]


def learn(block: Block) -> Baseline:
    """The baseline of every cell of a block."""
    tables = tuple(_table(block, number) for number in range(len(block.channels)))
    informative = tuple(
        np.asarray(table[..., GOOD] + table[..., SLOW] >= MIN_GOOD) for table in tables
    )
    return Baseline(tables, informative, np.asarray(block.attempts >= MIN_ATTEMPTS))


def _table(block: Block, channel: int) -> Floats:
    own = _own_counts(block, channel)
    world = typical(block.channels[channel].kind)
    pool = (own.sum(axis=0) + POOL_WEIGHT * world) / (own.sum(axis=(0, 2))[:, None] + POOL_WEIGHT)
    mixed = (own + OWN_WEIGHT * pool) / (own.sum(axis=2, keepdims=True) + OWN_WEIGHT)
    floored = (1 - ETA) * mixed + ETA / mixed.shape[-1]
    return with_unspecific(floored)


def _own_counts(block: Block, channel: int) -> Floats:
    """Decayed counts [V, T, outcomes]; failures without words are spread as failures usually are."""
    kind = block.channels[channel].kind
    names = len(OUTCOMES[kind])
    rows = block.history.where(block.history.channel == channel)
    counts = np.zeros((len(block.vantages), len(block.targets), names + 1))
    np.add.at(counts, (rows.vantage, rows.target, rows.outcome), rows.count)
    share = typical(kind).copy()
    share[[GOOD, SLOW]] = 0.0
    return np.asarray(counts[..., :names] + counts[..., names:] * (share / share.sum()))
