"""Is the vantage point itself broken? Asked of every vantage before it may accuse anyone.

`broken[v]` is the log of how much better "this vantage lost its line" explains all of its rows than
their history does, marginalised over severity. The judged target's likelihood uses it as a
noisy-OR: a row that fails may do so because the hypothesis hits this vantage, or because the vantage
is broken anyway. What people see of a vantage's health leaves the judged service and its prefix
out, so that a target's fault never shows as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from analysis.core.block import Floats
from analysis.core.emission import SEVERITY_WEIGHTS

EPSILON: Final = 0.02  # prior of a vantage being broken in a window
# P(heartbeat missing | broken), P(missing | fine), and the other way round.
MISSING: Final = (0.90, 0.01)
PRESENT: Final = (0.10, 0.99)


def broken_score(local: Floats, heartbeat: Sequence[bool | None]) -> Floats:
    """lambda_v from the scores s_LOCAL[severity, V, T'] of the targets to ask, and heartbeats."""
    weights = np.log(np.array(SEVERITY_WEIGHTS))[:, None]
    evidence = np.logaddexp.reduce(weights + local.sum(axis=2), axis=0)
    return np.asarray(evidence + np.array([_heard(one) for one in heartbeat]))


def _heard(heartbeat: bool | None) -> float:
    if heartbeat is None:
        return 0.0
    broken, fine = PRESENT if heartbeat else MISSING
    return float(np.log(broken / fine))


def broken_probability(broken: Floats) -> Floats:
    """Posterior of each vantage being broken."""
    odds = np.log(EPSILON / (1 - EPSILON)) + broken
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -500.0, 500.0))))


def missed(broken: Floats) -> Floats:
    """u_v: log likelihood of a vantage that the hypothesis does not touch."""
    return np.asarray(np.logaddexp(np.log(1 - EPSILON), np.log(EPSILON) + broken))


def hit(broken: Floats, effect: Floats) -> Floats:
    """a_v: log likelihood when the hypothesis' effect sum s_h [..., V] touches the vantage."""
    return np.asarray(np.logaddexp(np.log(1 - EPSILON) + effect, np.log(EPSILON) + broken))
