"""Upstream faults: some source networks cannot reach several unrelated targets, others can.

Such a fault is a block in the matrix of source groups and target networks whose two sides must be
found. The search starts from the judged target's own network, sees which groups that hits (softly),
and adds each unrelated endpoint that those same groups miss as well. Without its conditions the
hypothesis swallows every fault of a source or a target: at least three source networks in two
countries and not nearly all of them; at least one unrelated target network and not nearly all.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analysis.core import health
from analysis.core.atoms import PRIORS, Atom, Atoms, Evidence, mix
from analysis.core.block import Bools, Floats, Target
from analysis.core.emission import SEVERITY_WEIGHTS
from analysis.core.masks import Layout
from analysis.core.taxonomy import VerdictClass

COVERAGES: Final = (0.3, 0.6)
SHAPES: Final = (("unreachable", 0.7), ("saturated", 0.3))
MIN_SOURCES: Final = 3
MIN_COUNTRIES: Final = 2
MAX_SOURCE_SHARE: Final = 0.85
MAX_TARGET_SHARE: Final = 0.75
ENDPOINT_LOG_ODDS: Final = float(np.log(0.35 / 0.65))  # prior of one more endpoint lying behind it


def path_atoms(evidence: Evidence, layout: Layout, targets: tuple[Target, ...]) -> Atoms:
    """Every upstream hypothesis that meets the conditions; often none."""
    items: list[Atom] = []
    likelihood: list[Floats] = []
    for line, severity, coverage, prior in _candidates(evidence):
        effect = evidence.scores.values[line, severity]
        mask = _grow(evidence, effect, start=_start(layout), coverage=coverage)
        hits = _hits(evidence, effect, mask)
        if _holds(evidence, hits, coverage) and _spans(targets, mask, _start(layout)):
            items.append(
                Atom(
                    verdict_class=VerdictClass.UPSTREAM,
                    emission=evidence.scores.emissions[line].name,
                    severity=severity,
                    coverage=coverage,
                    mask=mask,
                    log_prior=float(np.log(prior)),
                )
            )
            likelihood.append(mix(evidence.missed(), hits, np.full(len(hits), coverage)))
    groups = len(evidence.groups.names)
    return Atoms(tuple(items), np.array(likelihood).reshape(len(items), groups))


def _candidates(evidence: Evidence) -> list[tuple[int, int, float, float]]:
    """(row, severity, coverage, prior) of every start of the search."""
    total = PRIORS[VerdictClass.UPSTREAM] / len(COVERAGES)
    return [
        (line, severity, coverage, total * share * weight * evidence.scores.emissions[line].weight)
        for shape, share in SHAPES
        for line in evidence.lines(shape)
        for severity, weight in enumerate(SEVERITY_WEIGHTS)
        for coverage in COVERAGES
    ]


def _start(layout: Layout) -> Bools:
    return np.asarray(np.logical_or.reduce(layout.network))


def _hits(evidence: Evidence, effect: Floats, mask: Bools) -> Floats:
    return evidence.groups.sums(health.hit(evidence.broken, effect[:, mask].sum(axis=1)))


def membership(evidence: Evidence, hits: Floats, coverage: float) -> Floats:
    """How surely each group is hit, given the hypothesis [G]."""
    odds = np.log(coverage / (1 - coverage)) + hits - evidence.missed()
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -500.0, 500.0))))


def _grow(evidence: Evidence, effect: Floats, *, start: Bools, coverage: float) -> Bools:
    """The start and every endpoint that the same groups miss as well."""
    before = _hits(evidence, effect, start)
    member = membership(evidence, before, coverage)
    base = effect[:, start].sum(axis=1)
    after = evidence.groups.sums(health.hit(evidence.broken, base[None, :] + effect.T))
    gain = (after - before) @ member + ENDPOINT_LOG_ODDS
    return np.asarray(start | (gain > 0))


def _holds(evidence: Evidence, hits: Floats, coverage: float) -> bool:
    member = membership(evidence, hits, coverage) > 0.5
    countries = {
        country
        for country, inside in zip(evidence.groups.countries, member, strict=True)
        if inside and country is not None
    }
    some = MIN_SOURCES <= member.sum() < MAX_SOURCE_SHARE * len(member)
    return bool(some and len(countries) >= MIN_COUNTRIES)


def _spans(targets: tuple[Target, ...], mask: Bools, start: Bools) -> bool:
    """Whether the added endpoints are some, and not nearly all, of the unrelated networks."""
    network = [one.asn if one.asn is not None else one.component for one in targets]
    unrelated = {network[int(i)] for i in np.flatnonzero(~start)}
    added = {network[int(i)] for i in np.flatnonzero(mask & ~start)}
    return 1 <= len(added) <= MAX_TARGET_SHARE * len(unrelated)
