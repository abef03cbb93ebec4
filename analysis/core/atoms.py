"""Atoms: the smallest complete hypotheses, and what each vantage group thinks of each of them.

An atom says what broke (a class and one row of its emission tables), for which targets (a mask from
the target's hierarchy), how badly (severity) and for how many (coverage). Which groups are hit is not
guessed but summed out:

    l[q, g] = log((1 - coverage) * exp(U_g) + coverage * exp(A_g))

with U_g the group's log likelihood when the fault misses it and A_g when it hits. That closed form
is what lets a fault in half of an anycast catchment compete fairly with one seen by all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core import health
from analysis.core.block import Bools, Floats
from analysis.core.emission import SEVERITY_WEIGHTS
from analysis.core.groups import Groups
from analysis.core.masks import Layout, single
from analysis.core.score import Scores
from analysis.core.taxonomy import VerdictClass

C = VerdictClass

COVERAGES: Final = (0.6, 0.9, 0.985)
CONFINED_COVERAGE: Final = 0.9  # of the groups that a regional block is confined to

# Prior probability per adjudicated window (method, section 3.8). The source axis is scored on its own.
PRIORS: Final[Mapping[VerdictClass, float]] = {
    C.HEALTHY: 0.55,
    C.APPLICATION_COMPONENT: 0.08,
    C.APPLICATION_SERVICE: 0.07,
    C.EDGE: 0.05,
    C.OVERLOAD: 0.05,
    C.DNS: 0.04,
    C.TLS: 0.04,
    C.TARGET_NETWORK: 0.03,
    C.TARGET_NETWORK_LOSSY: 0.02,
    C.UPSTREAM: 0.02,
    C.INTERFERENCE: 0.01,
}

SHAPE_OF: Final[Mapping[VerdictClass, str]] = {
    C.TARGET_NETWORK: "unreachable",
    C.TARGET_NETWORK_LOSSY: "saturated",
    C.DNS: "names",
    C.EDGE: "edge",
    C.TLS: "tls",
    C.APPLICATION_SERVICE: "application",
    C.APPLICATION_COMPONENT: "application",
    C.OVERLOAD: "overload",
    C.INTERFERENCE: "blocked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Atom:
    """One hypothesis. `emission` is the name of a table row; None = nothing is wrong."""

    verdict_class: VerdictClass
    emission: str | None
    severity: int | None
    coverage: float
    mask: Bools
    log_prior: float


@dataclass(frozen=True, slots=True)
class Atoms:
    """Hypotheses and their log likelihood per group [Q, G]."""

    items: tuple[Atom, ...]
    likelihood: Floats

    def joined(self, other: Atoms) -> Atoms:
        """Both sets side by side."""
        return Atoms(self.items + other.items, np.concatenate([self.likelihood, other.likelihood]))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the hypotheses are held against: scores, broken vantages, voices."""

    scores: Scores
    broken: Floats
    groups: Groups

    def missed(self) -> Floats:
        """U_g."""
        return self.groups.sums(health.missed(self.broken))

    def hits(self, masks: Floats) -> Floats:
        """A_g of every (row, severity, mask): masks [M, T] -> [R, S, M, G]."""
        effect = np.einsum("rsvt,mt->rsmv", self.scores.values, masks, optimize=True)
        return self.groups.sums(health.hit(self.broken, effect))

    def lines(self, shape: str) -> list[int]:
        """The rows of the score tensor that belong to a shape."""
        return [i for i, one in enumerate(self.scores.emissions) if one.shape == shape]


def mix(missed: Floats, hits: Floats, coverage: Floats) -> Floats:
    """The closed form above; coverage broadcasts against the groups."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.logaddexp(np.log1p(-coverage) + missed, np.log(coverage) + hits))


def scope_masks(layout: Layout, verdict_class: VerdictClass) -> tuple[Bools, ...]:
    """The distinct sets of targets that a class may be about."""
    alone = [single(layout, number) for number in layout.subjects]
    if verdict_class is C.APPLICATION_COMPONENT:
        return _distinct(alone)
    if verdict_class is C.APPLICATION_SERVICE:
        return _distinct([layout.service])
    if verdict_class is C.EDGE:
        return _distinct([*alone, *layout.host])
    if verdict_class in {C.TARGET_NETWORK, C.TARGET_NETWORK_LOSSY}:
        with_service = [prefix | layout.service for prefix in layout.prefix]
        return _distinct([*layout.prefix, *with_service, *layout.network])
    return _distinct([*alone, layout.service])


def _distinct(masks: Iterable[Bools]) -> tuple[Bools, ...]:
    return tuple({mask.tobytes(): mask for mask in masks}.values())


def healthy_atoms(evidence: Evidence, targets: int) -> Atoms:
    """Nothing is wrong with the target."""
    atom = Atom(
        verdict_class=C.HEALTHY,
        emission=None,
        severity=None,
        coverage=0.0,
        mask=np.zeros(targets, dtype=bool),
        log_prior=float(np.log(PRIORS[C.HEALTHY])),
    )
    return Atoms((atom,), evidence.missed()[None, :])


def class_atoms(
    evidence: Evidence,
    verdict_class: VerdictClass,
    *,
    shape: str,
    masks: tuple[Bools, ...],
    coverages: tuple[Floats, ...],
) -> Atoms:
    """Every (row, severity, mask, coverage) of a class; coverages are per group [G]."""
    lines = evidence.lines(shape)
    hits = evidence.hits(np.array(masks, dtype=float))[lines]
    missed = evidence.missed()
    likelihood = np.array([mix(missed, hits, coverage) for coverage in coverages])
    share = PRIORS[verdict_class] / (len(masks) * len(coverages))
    items = tuple(
        Atom(
            verdict_class=verdict_class,
            emission=evidence.scores.emissions[line].name,
            severity=severity,
            coverage=float(coverage.max()),
            mask=mask,
            log_prior=float(np.log(share * weight * evidence.scores.emissions[line].weight)),
        )
        for coverage in coverages
        for line in lines
        for severity, weight in enumerate(SEVERITY_WEIGHTS)
        for mask in masks
    )
    return Atoms(items, likelihood.reshape(len(items), -1))


def target_atoms(evidence: Evidence, layout: Layout) -> Atoms:
    """All target-side hypotheses, each over three coverages."""
    atoms = healthy_atoms(evidence, len(layout.service))
    for verdict_class, shape in SHAPE_OF.items():
        coverages = coverages_of(evidence.groups, verdict_class)
        if not coverages or (verdict_class is C.APPLICATION_SERVICE and layout.service.sum() < 2):
            continue
        masks = scope_masks(layout, verdict_class)
        atoms = atoms.joined(
            class_atoms(evidence, verdict_class, shape=shape, masks=masks, coverages=coverages)
        )
    return atoms


def coverages_of(groups: Groups, verdict_class: VerdictClass) -> tuple[Floats, ...]:
    """For how many groups a class may hold, per group [G]; a regional block is for some only."""
    if verdict_class is C.INTERFERENCE:
        return confined_coverages(groups)
    return tuple(np.full(len(groups.names), coverage) for coverage in COVERAGES)


def confined_coverages(groups: Groups) -> tuple[Floats, ...]:
    """One coverage per country and per group: hit inside, never outside; never all of the world."""
    countries = {country for country in groups.countries if country is not None}
    inside = [
        np.array([one == country for one in groups.countries]) for country in sorted(countries)
    ]
    inside += [np.arange(len(groups.names)) == number for number in range(len(groups.names))]
    sets = {mask.tobytes(): mask for mask in inside if 0 < mask.sum() < len(mask)}
    return tuple(mask * CONFINED_COVERAGE for mask in sets.values())
