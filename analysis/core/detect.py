"""When did something begin at this target? A cumulative sum over bins, bounded per group.

Per bin each vantage group says how much better "some fault, at severity 0.7" explains its rows at the
target than their history does, mixed over coverage and clipped to three nats, so that no single
group raises an alarm. The sums S_b = max(0, S_(b-1) + z_b) rise only when bins agree. With a right
model the time between false alarms is at least exp(threshold) bins.

The same z picks the stretch of a window that is worth judging: the bins between onset and end, so
that quiet bins before a fault do not dilute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from analysis.core.baseline import Baseline, learn
from analysis.core.block import Block, Bools, Counts, Floats
from analysis.core.emission import EMISSIONS, Emission
from analysis.core.groups import Groups, form_groups
from analysis.core.health import EPSILON
from analysis.core.masks import lay_out
from analysis.core.score import log_ratios

SEVERITY: Final = 0.7
CLIP: Final = 3.0
ALARM: Final = 12.0  # at one-minute bins: more than a hundred days between false alarms
SEGMENT: Final = 6.0  # a window that was asked about needs less than an always-on alarm
_TARGET_SHAPES: Final = (
    "unreachable",
    "saturated",
    "names",
    "edge",
    "tls",
    "application",
    "overload",
)
TARGET_ROWS: Final = tuple(one for one in EMISSIONS if one.shape in _TARGET_SHAPES)
LOCAL_ROWS: Final = tuple(one for one in EMISSIONS if one.shape == "local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A target that left its history behind: from which bin on, and how strongly."""

    service: str
    component: str
    since: datetime
    until: datetime
    strength: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Bins [first, last] and the sum of z over them."""

    first: int
    last: int
    strength: float


def group_signal(block: Block, baseline: Baseline, *, groups: Groups, targets: Bools) -> Floats:
    """Signal z per group and bin [G, bins] of some targets together."""
    rows = block.window.where(targets[block.window.target])
    evidence = np.logaddexp.reduce(
        _per_bin(block, baseline, emissions=TARGET_ROWS, rows=rows), axis=0
    ) - np.log(len(TARGET_ROWS))
    any_fault = groups.sums(evidence.T).T
    return np.asarray(
        np.clip(
            np.log((1 - SEVERITY) + SEVERITY * np.exp(np.clip(any_fault, -50, 50))), -CLIP, CLIP
        )
    )


def source_signal(block: Block, baseline: Baseline, *, controls: Bools) -> Floats:
    """Signal z per bin [bins] of vantages losing their line, over the controls."""
    rows = block.window.where(controls[block.window.target])
    local = _per_bin(block, baseline, emissions=LOCAL_ROWS, rows=rows)[0]
    broken = np.logaddexp(np.log1p(-EPSILON), np.log(EPSILON) + np.clip(local, -50, 50))
    return np.asarray(broken.sum(axis=0))


def _per_bin(
    block: Block, baseline: Baseline, *, emissions: Sequence[Emission], rows: Counts
) -> Floats:
    """Log ratios summed per emission row, vantage and bin [R, V, bins]."""
    ratios = log_ratios(block, baseline, emissions=emissions, rows=rows, severities=(SEVERITY,))
    shape = (len(block.vantages), block.bins)
    place = np.ravel_multi_index((ratios.rows.vantage, ratios.rows.bin), shape)
    size = shape[0] * shape[1]
    lines = ratios.values[:, 0, :] * ratios.rows.count
    sums = [np.bincount(place, weights=line, minlength=size) for line in lines]
    return np.array(sums, dtype=np.float64).reshape(len(emissions), *shape)


def heaviest(signal: Floats) -> Segment | None:
    """The run of bins with the largest sum (Kadane), or None when no bin is positive."""
    best: Segment | None = None
    start, total = 0, 0.0
    for number, value in enumerate(signal):
        if total <= 0:
            start, total = number, 0.0
        total += float(value)
        if total > (best.strength if best else 0.0):
            best = Segment(start, number, total)
    return best


def cumulative(signal: Floats, threshold: float) -> tuple[int, int] | None:
    """(first bin of the rise, bin of the alarm) of the first alarm, or None."""
    start, total = 0, 0.0
    for number, value in enumerate(signal):
        if total <= 0:
            start, total = number, 0.0
        total = max(0.0, total + float(value))
        if total > threshold:
            return start, number
    return None


def alarms(block: Block, *, service: str, threshold: float = ALARM) -> tuple[Alarm, ...]:
    """Which components of a service left their history in this block, each on its own."""
    baseline = learn(block)
    heard = np.bincount(block.window.vantage, minlength=len(block.vantages)) > 0
    groups = form_groups(block, speaking=np.asarray(heard))
    layout = lay_out(block.targets, service=service, component=None)
    found = [
        _alarm(block, baseline, groups=groups, target=int(number), threshold=threshold)
        for number in np.flatnonzero(layout.service)
    ]
    return tuple(alarm for alarm in found if alarm is not None)


def _alarm(
    block: Block, baseline: Baseline, *, groups: Groups, target: int, threshold: float
) -> Alarm | None:
    only = np.arange(len(block.targets)) == target
    signal = group_signal(block, baseline, groups=groups, targets=only).sum(axis=0)
    rise = cumulative(signal, threshold)
    segment = heaviest(signal)
    if rise is None or segment is None:
        return None
    return Alarm(
        service=block.targets[target].service,
        component=block.targets[target].component,
        since=block.at_bin(rise[0]),
        until=block.at_bin(max(segment.last, rise[1]) + 1),
        strength=segment.strength,
    )
