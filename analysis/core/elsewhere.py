"""Faults of the judged component's siblings, so that nobody is blamed for what another one does.

When one component is judged, its siblings are there to tell one from all. A sibling that fails is a
fact that every hypothesis has to live with; if only wide hypotheses may explain it, a healthy
component is accused for its sibling's sake. Each sibling therefore gets the best account of its own
trouble, of any class that one component alone can have:

    gain[j, g] = l[fault of j, g] - U_g          log prior[j] = log prior of that fault

A sibling has one only if the account, prior included, beats having none; each group's say in that is
bounded as in any verdict, relative to its best account. An atom that leaves a troubled sibling out of its mask (nothing is wrong
here, this component alone) is then joined by the sibling's own fault: it gets its gain and pays its
prior. An atom that holds the sibling in its mask explains it itself and pays nothing more. A fault of
all stays the cheaper account of all failing; several separate faults cost a prior each.

The limits: one account per sibling is picked, not summed over, so separate faults are taken at
slightly less than their worth; and gains are added per group as though a vantage's own trouble were
independent between targets, which matters only where it is near undecided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from analysis.core.atoms import SHAPE_OF, Atoms, Evidence, class_atoms, coverages_of
from analysis.core.block import Bools, Floats
from analysis.core.masks import Layout, single
from analysis.core.posterior import floored
from analysis.core.taxonomy import VerdictClass

# What can befall one component alone: a fault of the whole service is not a sibling's own.
OWN_CLASSES: Final = tuple(one for one in SHAPE_OF if one is not VerdictClass.APPLICATION_SERVICE)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Own faults of siblings: who has one [T], its gain per group [T, G], its log prior [T]."""

    failing: Bools
    gain: Floats
    log_prior: Floats


def own_faults(evidence: Evidence, layout: Layout) -> Elsewhere:
    """The best account of each sibling's own trouble, where that beats having none."""
    found = nowhere(evidence, layout)
    gain, log_prior = found.gain, found.log_prior
    accounts, missed = _accounts(evidence, layout), evidence.missed()
    about = np.array([int(np.flatnonzero(atom.mask)[0]) for atom in accounts.items], dtype=int)
    for number in np.flatnonzero(layout.siblings):
        places = np.flatnonzero(about == number)
        likelihood = np.vstack([missed, accounts.likelihood[places]])
        prior = np.array([0.0, *(accounts.items[int(place)].log_prior for place in places)])
        best = int(np.argmax(prior + floored(likelihood).sum(axis=1)))
        gain[number], log_prior[number] = likelihood[best] - missed, prior[best]
    return Elsewhere(log_prior < 0, gain, log_prior)


def nowhere(evidence: Evidence, layout: Layout) -> Elsewhere:
    """No sibling has a fault of its own: how a whole service is judged."""
    size, groups = len(layout.service), len(evidence.groups.names)
    return Elsewhere(np.zeros(size, dtype=bool), np.zeros((size, groups)), np.zeros(size))


def _accounts(evidence: Evidence, layout: Layout) -> Atoms:
    """Every own fault of every sibling; the prior of a class is each sibling's, not shared."""
    masks = tuple(single(layout, int(number)) for number in np.flatnonzero(layout.siblings))
    found = Atoms((), np.zeros((0, len(evidence.groups.names))))
    for verdict_class in OWN_CLASSES if masks else ():
        coverages = coverages_of(evidence.groups, verdict_class)
        if coverages:
            atoms = class_atoms(
                evidence,
                verdict_class,
                shape=SHAPE_OF[verdict_class],
                masks=masks,
                coverages=coverages,
            )
            found = found.joined(atoms)
    each = float(np.log(max(len(masks), 1)))
    items = tuple(replace(one, log_prior=one.log_prior + each) for one in found.items)
    return Atoms(items, found.likelihood)


def beside(atoms: Atoms, elsewhere: Elsewhere) -> Atoms:
    """The same hypotheses, each joined by the own faults of the siblings that it leaves out."""
    left_out = ~np.array([atom.mask for atom in atoms.items]) & elsewhere.failing
    items = tuple(
        replace(atom, log_prior=atom.log_prior + float(elsewhere.log_prior[out].sum()))
        for atom, out in zip(atoms.items, left_out, strict=True)
    )
    return Atoms(items, atoms.likelihood + left_out.astype(float) @ elsewhere.gain)
