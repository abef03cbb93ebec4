"""From what each group thinks to what may be said.

Two guards stand between the likelihood and the answer. A group's score is floored relative to that
group's best hypothesis, so no group, broken or lying, moves any comparison by more than FLOOR nats,
while the differences between hypotheses survive. And the posterior is tempered: rows of one world
are never as independent as a product of likelihoods claims.

An answer is the leaf if it is sure enough, else the deepest ancestor whose leaves together are, else
that the evidence does not suffice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core.atoms import Atom, Atoms
from analysis.core.block import Floats
from analysis.core.taxonomy import LEAVES, VerdictClass, ancestors, leaves_under, mass

FLOOR: Final = 6.0  # nats that one group can weigh in any comparison
TEMPERATURE: Final = 2.0  # fitted by the method's prototype; to be refitted per release
LEAF_SURE: Final = 0.80
PARENT_SURE: Final = 0.85


@dataclass(frozen=True, slots=True)
class Posterior:
    """Class probabilities, and per atom the floored likelihood [Q, G] and total log weight [Q]."""

    classes: Mapping[VerdictClass, float]
    floored: Floats
    weight: Floats


def floored(likelihood: Floats) -> Floats:
    """Likelihoods [Q, G] with each group's say bounded relative to its own best."""
    return np.asarray(np.maximum(likelihood, likelihood.max(axis=0) - FLOOR))


def infer(atoms: Atoms) -> Posterior:
    """The tempered posterior over the classes that have an atom."""
    bounded = floored(atoms.likelihood)
    prior = np.array([atom.log_prior for atom in atoms.items])
    weight = prior + bounded.sum(axis=1)
    present = sorted({atom.verdict_class for atom in atoms.items}, key=LEAVES.index)
    of = np.array([present.index(atom.verdict_class) for atom in atoms.items])
    totals = np.array([np.logaddexp.reduce(weight[of == number]) for number in range(len(present))])
    share = np.exp((totals - totals.max()) / TEMPERATURE)
    share /= share.sum()
    classes = {one: float(value) for one, value in zip(present, share, strict=True)}
    return Posterior(classes, bounded, weight)


def best_atom(
    atoms: Atoms, posterior: Posterior, classes: Sequence[VerdictClass]
) -> tuple[int, Atom] | None:
    """The heaviest atom of some classes, with its place."""
    places = [i for i, atom in enumerate(atoms.items) if atom.verdict_class in classes]
    if not places:
        return None
    place = max(places, key=lambda i: posterior.weight[i])
    return place, atoms.items[place]


def leading(classes: Mapping[VerdictClass, float]) -> VerdictClass:
    """The likeliest leaf."""
    return max(classes, key=lambda one: classes[one])


def answer(classes: Mapping[VerdictClass, float]) -> tuple[VerdictClass, float]:
    """The deepest class that is sure enough, and its probability."""
    leaf = leading(classes)
    if classes[leaf] >= LEAF_SURE:
        return leaf, classes[leaf]
    for parent in ancestors(leaf):
        summed = mass(classes, leaves_under(parent))
        if summed >= PARENT_SURE:
            return parent, summed
    return VerdictClass.INSUFFICIENT, classes[leaf]


def runner_up(classes: Mapping[VerdictClass, float]) -> tuple[VerdictClass, VerdictClass]:
    """The two likeliest leaves: what the evidence hesitates between."""
    ordered = sorted(classes, key=lambda one: -classes[one])
    return ordered[0], ordered[min(1, len(ordered) - 1)]
