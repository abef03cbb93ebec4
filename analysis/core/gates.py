"""What must be there before anything may be said, and how far a verdict may go without it.

A hard gate that is shut makes the target side insufficient, whatever the posterior. A soft gate caps
the answer at the deepest class that the controls at hand can support: without siblings nobody knows
whether one component fails or all do; without strangers in the prefix, whether a host is gone or its
network; without history, whether something is slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core.baseline import Baseline
from analysis.core.block import Block, Bools, Counts, Floats
from analysis.core.groups import Groups
from analysis.core.masks import Layout
from analysis.core.outcomes import SLOW
from analysis.core.taxonomy import VerdictClass
from proto.model import Kind

C = VerdictClass

MIN_GROUPS: Final = 3
MIN_COUNTRIES: Final = 2
MIN_ANCHORS: Final = 5
ALIVE_SHARE: Final = 0.5  # of an anchor's attempts from healthy vantages
MIN_PRESENT: Final = 0.6  # of the cells that history leads to expect
MIN_SIBLINGS: Final = 2
CLEAN_SHARE: Final = 0.05  # attempts that may fail at a control that is called fine
HOST_LIVES: Final = "edge_refused"  # a refusal proves that the host lives: no neighbour needed

_APPLICATION: Final = frozenset({C.APPLICATION_SERVICE, C.APPLICATION_COMPONENT, C.OVERLOAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """`hard` are the reasons why nothing may be said of the target; the rest caps the answer."""

    hard: tuple[str, ...]
    no_siblings: bool
    no_neighbours: bool
    no_baseline: bool

    def cap(
        self, said: VerdictClass, *, leaf: VerdictClass, emission: str | None
    ) -> tuple[VerdictClass, tuple[str, ...]]:
        """How far an answer may go, and what holds its likeliest leaf back."""
        capped, reasons = said, []
        for applies, reason, ceilings in (
            (self.no_baseline, "no_baseline", _WITHOUT_BASELINE),
            (self.no_siblings, "no_siblings", _WITHOUT_SIBLINGS),
            (self.no_neighbours and emission != HOST_LIVES, "no_neighbours", _ALONE),
        ):
            if applies and leaf in ceilings:
                reasons.append(reason)
                capped = ceilings[leaf] if said is leaf else said
        return capped, tuple(reasons)


_WITHOUT_BASELINE: Final[Mapping[VerdictClass, VerdictClass]] = {
    C.OVERLOAD: C.APPLICATION,
    C.TARGET_NETWORK_LOSSY: C.TARGET_NET,
}
_WITHOUT_SIBLINGS: Final = dict.fromkeys(_APPLICATION, C.APPLICATION)
_ALONE: Final[Mapping[VerdictClass, VerdictClass]] = {
    C.TARGET_NETWORK: C.TARGET,
    C.TARGET_NETWORK_LOSSY: C.TARGET_NET,
    C.EDGE: C.TARGET,
}


def check_gates(
    block: Block, baseline: Baseline, *, layout: Layout, groups: Groups, down: Bools
) -> Gates:
    """Hold the block against every gate; `down` [V] are vantages that are broken themselves."""
    rows = block.window.where(~down[block.window.vantage])
    measured = np.bincount(rows.target, minlength=len(block.targets)) > 0
    siblings = int((measured & layout.service).sum()) - 1
    around = np.logical_or.reduce([*layout.prefix, *layout.network])
    neighbours = measured & around & ~np.logical_and.reduce(layout.host)
    hard = (
        *_few_groups(rows, layout, groups),
        *(["controls_down"] if _alive(block, rows, layout) < MIN_ANCHORS else []),
        *(["missing_data"] if _present(block, layout) < MIN_PRESENT else []),
    )
    return Gates(
        hard=hard,
        no_siblings=siblings < MIN_SIBLINGS,
        no_neighbours=not neighbours.any(),
        no_baseline=not _has_history(block, baseline, layout),
    )


def _few_groups(rows: Counts, layout: Layout, groups: Groups) -> list[str]:
    """Healthy voices that looked at the judged components."""
    looked = np.isin(rows.target, layout.subjects)
    voices = {int(one) for one in groups.of[rows.vantage[looked]]}
    countries = {groups.countries[one] for one in voices} - {None}
    enough = len(voices) >= MIN_GROUPS and len(countries) >= MIN_COUNTRIES
    return [] if enough else ["few_groups"]


def _alive(block: Block, rows: Counts, layout: Layout) -> int:
    """Anchors that answer the vantages which are well."""
    size = len(block.targets)
    total = np.bincount(rows.target, weights=rows.count, minlength=size)
    good = np.bincount(rows.target, weights=rows.count * (rows.outcome <= SLOW), minlength=size)
    return int((layout.anchors & (total > 0) & (good >= ALIVE_SHARE * total)).sum())


def _present(block: Block, layout: Layout) -> float:
    """Cells of the judged components against the density of their history; 1 without history."""
    subjects = np.isin(block.window.target, layout.subjects)
    rows = block.window.where(subjects)
    shape = (len(block.vantages), len(block.targets), len(block.channels), block.bins)
    cells = np.unique(
        np.ravel_multi_index((rows.vantage, rows.target, rows.channel, rows.bin), shape)
    )
    expected = block.history_cells[list(layout.subjects)].sum()
    if not expected:
        return 1.0
    density = expected / max(block.history_bins, 1)
    return float(len(cells) / (density * block.bins))


def _has_history(block: Block, baseline: Baseline, layout: Layout) -> bool:
    """Web checks decide, where there are any: slowness is theirs to show."""
    web = [i for i, one in enumerate(block.channels) if one.kind is Kind.HTTP]
    asked = web or list(range(len(block.channels)))
    return bool(baseline.pooled_enough[np.ix_(list(layout.subjects), asked)].any(axis=1).all())


def failed_share(block: Block, baseline: Baseline, *, rows: Counts, targets: Bools) -> float | None:
    """Failed share of the attempts at some targets, in cells that normally answer; None = no rows."""
    speak = np.zeros(len(rows.count), dtype=bool)
    for number in range(len(block.channels)):
        at = rows.channel == number
        speak[at] = baseline.informative[number][rows.vantage[at], rows.target[at]]
    picked = rows.where(speak & targets[rows.target])
    total = float(picked.count.sum())
    failed: Floats = picked.count[picked.outcome > SLOW]
    return float(failed.sum()) / total if total else None


def is_clean(share: float | None) -> bool:
    """Measured, and fine."""
    return share is not None and share <= CLEAN_SHARE
