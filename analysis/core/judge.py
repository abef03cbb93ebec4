"""Judge one block: which hypothesis explains all of it best, and may that be said?

The order matters. First which stretch of the window departs from history; then how well each
vantage is; then the target axis over that stretch, with a broken vantage as a standing alternative
to any accusation; then the source axis on its own; then the gates. Nothing here knows who asks, what
anyone claims or what a row's name means to people: the same counts get the same verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from analysis.core import health
from analysis.core.atoms import Atom, Evidence, target_atoms
from analysis.core.baseline import Baseline, learn
from analysis.core.blindness import with_own_fault
from analysis.core.block import Block, Bools, Counts, Floats
from analysis.core.certify import certified
from analysis.core.conclude import NOT_PROBED, Finding, Weighing, conclude, nothing
from analysis.core.detect import SEGMENT, Segment, group_signal, heaviest, source_signal
from analysis.core.elsewhere import beside, nowhere, own_faults
from analysis.core.emission import EMISSIONS
from analysis.core.gates import Gates, check_gates
from analysis.core.groups import Groups, form_groups
from analysis.core.masks import Layout, lay_out, single
from analysis.core.outcomes import SLOW
from analysis.core.path import path_atoms
from analysis.core.posterior import answer, best_atom, infer, leading, runner_up
from analysis.core.score import score
from analysis.core.shape import failing_codes, is_alien
from analysis.core.source import MIN_CONTROLS, SourceFinding, find_source, unknown_source
from analysis.core.taxonomy import Level, VerdictClass, leaves_under, level_of
from analysis.core.verdict import Verdict

C = VerdictClass

CUT_OFF_SHARE = 0.6  # of the controls that a vantage must miss before it is called broken itself


def judge(block: Block, *, service: str, component: str | None) -> Verdict:
    """The verdict on a component (None = the whole service) over the block's window."""
    verdict = _judge_rows(block, service=service, component=component)
    verdict = replace(verdict, quarantined=block.quarantined)
    return with_own_fault(verdict, block.reports)


def _judge_rows(block: Block, *, service: str, component: str | None) -> Verdict:
    layout = lay_out(block.targets, service=service, component=component)
    if not layout.subjects:
        return nothing(block, service, component=component, reason=NOT_PROBED)
    if not np.isin(block.window.target, layout.subjects).any():
        return nothing(block, service, component=component, reason="missing_data")
    weighing = weigh(block, layout, alone=component is not None)
    source = judge_source(block, weighing.baseline, layout)
    gates = check_gates(
        block,
        weighing.baseline,
        layout=layout,
        groups=weighing.evidence.groups,
        down=source.broken,
    )
    finding = judge_target(block, weighing, gates)
    return conclude(block, weighing, component=component, finding=finding, source=source)


def weigh(block: Block, layout: Layout, *, alone: bool) -> Weighing:
    """Score every target-side hypothesis over the stretch of the window that stands out.

    `alone` says that one component is judged: what its siblings do is then theirs.
    """
    baseline = learn(block)
    heard = np.bincount(block.window.vantage, minlength=len(block.vantages)) > 0
    groups = form_groups(block, speaking=np.asarray(heard))
    signal, segment = _stretch(block, baseline, layout=layout, groups=groups)
    rows = block.window.where(_inside(block.window, segment))
    scores = score(block, baseline, emissions=EMISSIONS, rows=rows)
    local = next(i for i, one in enumerate(EMISSIONS) if one.shape == "local")
    broken = health.broken_score(scores.values[local], block.heartbeat)
    evidence = Evidence(scores, broken, groups)
    atoms = target_atoms(evidence, layout)
    atoms = atoms.joined(path_atoms(evidence, layout, block.targets))
    elsewhere = own_faults(evidence, layout) if alone else nowhere(evidence, layout)
    atoms = beside(atoms, elsewhere)
    return Weighing(
        layout=layout,
        baseline=baseline,
        rows=rows,
        signal=signal,
        segment=segment,
        evidence=evidence,
        elsewhere=elsewhere,
        atoms=atoms,
        posterior=infer(atoms),
    )


def _stretch(
    block: Block, baseline: Baseline, *, layout: Layout, groups: Groups
) -> tuple[Floats, Segment | None]:
    """Signal per group and bin of the judged component that stands out most, and its stretch."""
    found: list[tuple[float, Floats, Segment | None]] = []
    for number in layout.subjects:
        signal = group_signal(block, baseline, groups=groups, targets=single(layout, number))
        segment = heaviest(signal.sum(axis=0))
        found.append((segment.strength if segment else 0.0, signal, segment))
    strength, signal, segment = max(found, key=lambda one: one[0])
    return signal, segment if strength >= SEGMENT else None


def _inside(rows: Counts, segment: Segment | None) -> Bools:
    if segment is None:
        return np.ones(len(rows.count), dtype=bool)
    return np.asarray((rows.bin >= segment.first) & (rows.bin <= segment.last))


def judge_source(block: Block, baseline: Baseline, layout: Layout) -> SourceFinding:
    """The source axis, from controls only: neither the judged service nor its prefix."""
    judged = np.logical_or.reduce([layout.service, *layout.prefix])
    controls = (layout.anchors | layout.strangers) & ~judged
    segment = heaviest(source_signal(block, baseline, controls=controls))
    strong = segment is not None and segment.strength >= SEGMENT
    keep = _inside(block.window, segment if strong else None) & controls[block.window.target]
    rows = block.window.where(keep)
    local = tuple(one for one in EMISSIONS if one.shape == "local")
    scores = score(block, baseline, emissions=local, rows=rows)
    broken = health.broken_score(scores.values[0], block.heartbeat)
    broken = np.where(cut_off(block, rows), broken, np.minimum(broken, 0.0))
    if len(np.unique(rows.target)) < MIN_CONTROLS:
        return unknown_source(len(block.vantages))
    heard = np.bincount(rows.vantage, minlength=len(block.vantages)) > 0
    missed = np.array([one is False for one in block.heartbeat])
    return find_source(block.vantages, broken, asked=np.asarray(heard | missed))


def cut_off(block: Block, rows: Counts) -> Bools:
    """Vantages [V] that miss most controls, or have no row: missing a few is the path's doing."""
    shape = (len(block.vantages), len(block.targets))
    place = np.ravel_multi_index((rows.vantage, rows.target), shape)
    size = shape[0] * shape[1]
    total = np.bincount(place, weights=rows.count, minlength=size).reshape(shape)
    failed = rows.count * (rows.outcome > SLOW)
    lost = np.bincount(place, weights=failed, minlength=size).reshape(shape)
    missed = ((lost > total / 2) & (total > 0)).sum(axis=1)
    return np.asarray(missed >= CUT_OFF_SHARE * (total > 0).sum(axis=1))


def judge_target(block: Block, weighing: Weighing, gates: Gates) -> Finding:
    """The target axis: posterior, shape test, caps and gates, certification."""
    classes = dict(weighing.posterior.classes)
    leaf = leading(classes)
    place, atom = _heaviest_of(weighing, leaf)
    hit = _hit(weighing, place)
    if leaf is not C.HEALTHY and level_of(leaf) is not Level.UPSTREAM:
        failing = failing_codes(
            block, weighing.rows, groups=weighing.evidence.groups, mask=atom.mask, hit=hit
        )
        if is_alien(failing, atom):
            classes[C.OTHER_TARGET_FAULT] = classes.pop(leaf)
    said, probability = answer(classes)
    reasons = list(gates.hard)
    if said is C.INSUFFICIENT and not gates.hard:
        first, second = runner_up(classes)
        reasons.append(f"ambiguous_pair({first},{second})")
    capped, held_back = gates.cap(said, leaf=leaf, emission=atom.emission)
    voices = int((weighing.evidence.groups.sums(np.ones(len(block.vantages))) > 0).sum())
    safe = certified(weighing.atoms, weighing.posterior, winner=leaf, voices=voices)
    unknown = bool(gates.hard) or said is C.INSUFFICIENT
    reasons += [] if safe is not None or unknown else ["not_certified"]
    return Finding(
        verdict_class=C.INSUFFICIENT if unknown else capped,
        probability=None if unknown else _mass(classes, capped, at_least=probability),
        classes=classes,
        atom=atom,
        hit=hit,
        certified_f=None if unknown else safe,
        reasons=(*reasons, *(() if unknown else held_back)),
    )


def _heaviest_of(weighing: Weighing, leaf: VerdictClass) -> tuple[int, Atom]:
    found = best_atom(weighing.atoms, weighing.posterior, [leaf])
    assert found is not None, "the leading class has an atom by construction"
    return found


def _hit(weighing: Weighing, place: int) -> Bools:
    """Groups that speak for the atom rather than for nothing being wrong."""
    gain = weighing.atoms.likelihood[place] - weighing.atoms.likelihood[0]
    return np.asarray(gain > 0)


def _mass(classes: Mapping[VerdictClass, float], capped: VerdictClass, *, at_least: float) -> float:
    """Probability of what is said: a cap sums more leaves, it never loses any."""
    return max(at_least, sum(classes.get(leaf, 0.0) for leaf in leaves_under(capped)))
