"""How many vantage groups may lie before the verdict turns over.

An adversary who owns f groups can withdraw the f groups that speak most for the winner and have them
vote fully against it. A group's say is bounded (posterior.FLOOR), so the worst case is a sum that
can be written down: the margin after that must still be nine to one. The cost of an attack is
therefore hosting networks, not machines. The coordinator sees every report and is trusted, so no
agreement bound among the probes is needed.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analysis.core.atoms import Atoms
from analysis.core.posterior import FLOOR, Posterior, best_atom
from analysis.core.taxonomy import VerdictClass

ODDS: Final = 9.0
MIN_GROUPS: Final = 5  # fewer independent voices certify nothing


def certified(
    atoms: Atoms, posterior: Posterior, *, winner: VerdictClass, voices: int
) -> int | None:
    """The largest f that the verdict survives; None when not even f = 0 holds."""
    others = [one for one in posterior.classes if one is not winner]
    first = best_atom(atoms, posterior, [winner])
    second = best_atom(atoms, posterior, others)
    if first is None or second is None or voices < MIN_GROUPS:
        return None
    prior = first[1].log_prior - second[1].log_prior
    difference = np.sort(posterior.floored[first[0]] - posterior.floored[second[0]])[::-1]
    survives = [
        f
        for f in range(len(difference) + 1)
        if prior + difference[f:].sum() - f * FLOOR >= np.log(ODDS)
    ]
    return max(survives, default=None)
