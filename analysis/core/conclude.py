"""From the two axes to one verdict: which class is named, for whom it holds, and in what words.

A fault of the target is named before one of the source, because it is what was asked about; both
stay readable in their own fields. A source fault is named when the target is well, or when nothing
can be said of the target for want of healthy vantages and no healthy one accuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np

from analysis.core.atoms import Atom, Atoms, Evidence
from analysis.core.baseline import Baseline
from analysis.core.block import Block, Bools, Counts, Floats
from analysis.core.detect import Segment
from analysis.core.elsewhere import Elsewhere
from analysis.core.gates import failed_share, is_clean
from analysis.core.masks import Layout
from analysis.core.onset import locate_end, locate_onset
from analysis.core.posterior import Posterior, leading
from analysis.core.sentence import MECHANISMS, NOT_OBSERVED, Seen, compose
from analysis.core.source import SourceFinding
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Interval, Scope, Verdict

C = VerdictClass

OLDER: Final = "when it began, if that was before the window"
NOT_PROBED: Final = "component_not_probed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """The target axis of one block, as far as numbers go: also what a claim sheet starts from."""

    layout: Layout
    baseline: Baseline
    rows: Counts
    signal: Floats
    segment: Segment | None
    evidence: Evidence
    elsewhere: Elsewhere
    atoms: Atoms
    posterior: Posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer of the target axis."""

    verdict_class: VerdictClass
    probability: float | None
    classes: Mapping[VerdictClass, float]
    atom: Atom
    hit: Bools
    certified_f: int | None
    reasons: tuple[str, ...]


_SOURCE_SIDE = frozenset({C.SOURCE, C.VANTAGE_LOCAL, C.ACCESS_NETWORK, C.COUNTRY})


def conclude(
    block: Block,
    weighing: Weighing,
    *,
    component: str | None,
    finding: Finding,
    source: SourceFinding,
) -> Verdict:
    """The verdict that both axes add up to."""
    named = _name(finding, source)
    on_source = named in _SOURCE_SIDE
    failing = finding.verdict_class not in {C.HEALTHY, C.INSUFFICIENT}
    onset, end = _times(block, weighing, finding.hit) if failing else (None, None)
    voices = _voices(weighing)
    believing = voices & (finding.hit if failing else ~finding.hit)
    scope = _scope(block, weighing, finding=finding, source=source if on_source else None)
    seen = _seen(block, weighing, scope=scope, believing=believing, reasons=finding.reasons)
    return Verdict(
        scenario=block.scenario,
        service=scope.service,
        component=component,
        verdict_class=named,
        target_class=finding.verdict_class,
        source_class=source.verdict_class,
        probability=_probability(named, finding, source),
        certified_f=finding.certified_f,
        onset=onset,
        end=end,
        scope=scope,
        reasons=finding.reasons,
        posterior=_posterior(finding.classes, source.probabilities),
        sentence=compose(named, seen),
        groups_for=_names(weighing, believing),
        groups_against=_names(weighing, voices & ~believing),
        mechanisms=MECHANISMS.get(named, ()),
        not_observed=(*NOT_OBSERVED, *_unseen_start(block, onset)),
        counter_evidence=_counter_evidence(_names(weighing, voices & ~believing)),
        window_from=block.start,
        window_to=block.end,
        as_of=block.as_of,
    )


def nothing(block: Block, service: str, *, component: str | None, reason: str) -> Verdict:
    """The verdict where there is nothing to weigh at all."""
    window = (block.start, block.end)
    empty = unmeasured(service, component=component, scenario=block.scenario, window=window)
    seen = _nobody(service, component=component, reason=reason)
    return replace(
        empty,
        reasons=(reason,),
        sentence=compose(C.INSUFFICIENT, seen),
        as_of=block.as_of,
    )


def unmeasured(
    service: str,
    *,
    component: str | None,
    scenario: str | None,
    window: tuple[datetime, datetime],
) -> Verdict:
    """The verdict on something that no row is about."""
    seen = _nobody(service, component=component, reason=NOT_PROBED)
    return Verdict(
        scenario=scenario,
        service=service,
        component=component,
        verdict_class=C.INSUFFICIENT,
        target_class=C.INSUFFICIENT,
        source_class=C.INSUFFICIENT,
        probability=None,
        certified_f=None,
        onset=None,
        end=None,
        scope=Scope(service=service, components=seen.components),
        reasons=(NOT_PROBED,),
        posterior={},
        sentence=compose(C.INSUFFICIENT, seen),
        groups_for=(),
        groups_against=(),
        mechanisms=(),
        not_observed=NOT_OBSERVED,
        counter_evidence=(),
        window_from=window[0],
        window_to=window[1],
        as_of=window[1],
    )


def _nobody(service: str, *, component: str | None, reason: str) -> Seen:
    return Seen(
        service=service,
        components=(component,) if component else (),
        failing_groups=0,
        groups=0,
        countries=0,
        siblings_fine=False,
        neighbours_fine=False,
        reasons=(reason,),
    )


def _name(finding: Finding, source: SourceFinding) -> VerdictClass:
    ours = source.verdict_class in _SOURCE_SIDE
    if finding.verdict_class is C.HEALTHY:
        return source.verdict_class if ours else C.HEALTHY
    excused = leading(finding.classes) is C.HEALTHY
    if finding.verdict_class is C.INSUFFICIENT and ours and excused:
        return source.verdict_class
    return finding.verdict_class


def _probability(named: VerdictClass, finding: Finding, source: SourceFinding) -> float | None:
    if named is C.SOURCE:
        return sum(source.probabilities.values())
    if named in _SOURCE_SIDE:
        return source.probabilities[named]
    if named is C.HEALTHY:
        return finding.classes[C.HEALTHY] * (1.0 - sum(source.probabilities.values()))
    return finding.probability


def _posterior(
    classes: Mapping[VerdictClass, float], source: Mapping[VerdictClass, float]
) -> dict[VerdictClass, float]:
    """One distribution: what the target axis leaves to "nothing wrong" is split by the source's."""
    well = classes.get(C.HEALTHY, 0.0)
    split = {one: well * share for one, share in source.items()}
    return {**classes, **split, C.HEALTHY: well - sum(split.values())}


def _voices(weighing: Weighing) -> Bools:
    """Groups that looked at the judged components in the stretch."""
    looked = np.isin(weighing.rows.target, weighing.layout.subjects)
    groups = weighing.evidence.groups
    seen = np.bincount(groups.of[weighing.rows.vantage[looked]], minlength=len(groups.names))
    return np.asarray(seen > 0)


def _names(weighing: Weighing, groups: Bools) -> tuple[str, ...]:
    return tuple(weighing.evidence.groups.names[int(i)] for i in np.flatnonzero(groups))


def _times(block: Block, weighing: Weighing, hit: Bools) -> tuple[Interval | None, Interval | None]:
    if weighing.segment is None:
        return None, None
    onset = locate_onset(block, weighing.signal, hit=hit, segment=weighing.segment)
    return onset, locate_end(block, weighing.signal.sum(axis=0), weighing.segment)


def _unseen_start(block: Block, onset: Interval | None) -> tuple[str, ...]:
    """A fault that is there in the first bin may have begun before anyone was asked to look."""
    return (OLDER,) if onset is not None and onset.best <= block.start else ()


def _scope(
    block: Block, weighing: Weighing, *, finding: Finding, source: SourceFinding | None
) -> Scope:
    layout = weighing.layout
    mask = finding.atom.mask & layout.service
    named = mask if mask.any() else np.isin(np.arange(len(mask)), layout.subjects)
    first = block.targets[layout.subjects[0]]
    return Scope(
        service=first.service,
        components=tuple(block.targets[int(i)].component for i in np.flatnonzero(named)),
        families=_families(block, weighing, named),
        prefix=first.prefix,
        vantages=source.vantages if source else (),
        asns=source.asns if source else (),
        countries=source.countries if source else (),
    )


def _families(block: Block, weighing: Weighing, named: Bools) -> tuple[int, ...]:
    """Address families that fail at the named targets; all that were measured where none stands out."""
    of = np.array([channel.family or 0 for channel in block.channels])
    rows = weighing.rows.where(named[weighing.rows.target])
    measured = [int(one) for one in np.unique(of[rows.channel]) if one]
    failing = [
        family
        for family in measured
        if not is_clean(
            failed_share(
                block, weighing.baseline, rows=rows.where(of[rows.channel] == family), targets=named
            )
        )
    ]
    return tuple(failing or measured)


def _seen(
    block: Block, weighing: Weighing, *, scope: Scope, believing: Bools, reasons: tuple[str, ...]
) -> Seen:
    layout, groups = weighing.layout, weighing.evidence.groups
    named = np.array([one.component in scope.components for one in block.targets])
    rest = layout.service & ~named
    countries = {groups.countries[int(i)] for i in np.flatnonzero(believing)} - {None}
    return Seen(
        service=scope.service,
        components=scope.components,
        failing_groups=int(believing.sum()),
        groups=int(_voices(weighing).sum()),
        countries=len(countries),
        siblings_fine=_fine(block, weighing, rest),
        neighbours_fine=_fine(block, weighing, layout.strangers),
        failing_siblings=_failing_siblings(block, weighing),
        vantages=scope.vantages,
        asns=scope.asns,
        affected_countries=scope.countries,
        reasons=reasons,
    )


def _failing_siblings(block: Block, weighing: Weighing) -> tuple[str, ...]:
    """Components with a fault of their own."""
    failing = np.flatnonzero(weighing.elsewhere.failing)
    return tuple(block.targets[int(number)].component for number in failing)


def _fine(block: Block, weighing: Weighing, targets: Bools) -> bool:
    """Measured from vantages that are well, and within what may fail anywhere."""
    well = weighing.evidence.broken < 0
    rows = weighing.rows.where(well[weighing.rows.vantage])
    return is_clean(failed_share(block, weighing.baseline, rows=rows, targets=targets))


def _counter_evidence(against: tuple[str, ...]) -> tuple[str, ...]:
    """What speaks against the verdict, named rather than left out."""
    if not against:
        return ()
    return (f"{', '.join(against)}: the rows from there do not support it",)
