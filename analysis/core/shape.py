"""Does what failed look like the class that won, or like nothing we know?

Given only known hypotheses a posterior is sure of the least bad one, however badly it fits. So the
failing codes of the affected cells are held against the winner's table and against a flat one, both
as Dirichlet-multinomials: tables are beliefs about proportions, worth a few pseudo-counts, not the
proportions themselves. A table fitted to the data at hand would explain anything; it is not offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma
from typing import Final

import numpy as np

from analysis.core.atoms import Atom
from analysis.core.block import Block, Bools, Counts, Floats
from analysis.core.emission import EMISSIONS, Emission, vector
from analysis.core.groups import Groups
from analysis.core.outcomes import OUTCOMES, SLOW
from analysis.core.score import temper
from proto.model import Kind

TABLE_WEIGHT: Final = 6.0
TABLE_FLOOR: Final = 0.05
FLAT: Final = 0.4
ALIEN_BELOW: Final = -2.0
MIN_FAILING: Final = 1.0  # weighted failures; fewer have no shape


def dirichlet_multinomial(counts: Floats, alpha: Floats) -> float:
    """Log likelihood of counts in order, up to the multinomial factor that both sides share."""
    total = lgamma(float(alpha.sum())) - lgamma(float(alpha.sum() + counts.sum()))
    return total + sum(
        lgamma(float(a + c)) - lgamma(float(a)) for a, c in zip(alpha, counts, strict=True)
    )


def fits(failing: Floats, rows: Sequence[Emission], kind: Kind = Kind.HTTP) -> bool:
    """Whether failing-code counts look like any of the rows of a shape."""
    if failing.sum() < MIN_FAILING:
        return True
    flat = dirichlet_multinomial(failing, np.full(len(failing), FLAT))
    tables = [vector(kind, row.table[kind])[SLOW + 1 :] for row in rows if kind in row.table]
    known = [
        dirichlet_multinomial(failing, TABLE_WEIGHT * table / table.sum() + TABLE_FLOOR)
        for table in tables
    ]
    return not known or max(known) - flat >= ALIEN_BELOW


def failing_codes(block: Block, rows: Counts, *, groups: Groups, mask: Bools, hit: Bools) -> Floats:
    """Weighted counts of each failing web outcome at the masked targets, seen by groups hit [G]."""
    names = len(OUTCOMES[Kind.HTTP])
    web = np.array([channel.kind is Kind.HTTP for channel in block.channels])
    keep = web[rows.channel] & mask[rows.target] & hit[groups.of[rows.vantage]]
    keep &= (rows.outcome > SLOW) & (rows.outcome < names)
    picked = rows.where(keep)
    weight = picked.count * groups.weight[picked.vantage] * temper(block, picked)
    counts = np.bincount(picked.outcome, weights=weight, minlength=names)
    return np.asarray(counts[SLOW + 1 : names])


def is_alien(failing: Floats, atom: Atom) -> bool:
    """Whether the winner's shape fails the test."""
    shape = next(one.shape for one in EMISSIONS if one.name == atom.emission)
    return not fits(failing, [one for one in EMISSIONS if one.shape == shape])
