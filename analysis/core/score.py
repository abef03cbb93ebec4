"""How much better a fault explains each cell than the cell's own history does.

    s[h, rho](v, t) = sum over channels and outcomes of
                      tau * count * log(((1 - rho) * B(o) + rho * E_h(o)) / B(o))

`rho` is the severity: the share of attempts that the fault touches. `tau` tempers the fact that
attempts inside one cell are not independent (a Beta-Binomial's over-dispersion): n attempts count
as n / (1 + (n - 1) * CORRELATION), so a cell can never shout down the rest of the world by being
measured more often.

Nothing is clipped here. Clipping a cell's ratio made all faults look alike, and clipping a group's
sum made wide scopes lose to narrow ones; the bound on a group's influence is set once, relative to
its best hypothesis, in `posterior`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core.baseline import Baseline
from analysis.core.block import Block, Counts, Floats
from analysis.core.emission import SEVERITIES, Emission, affected
from analysis.core.outcomes import OUTCOMES

CORRELATION: Final = 0.1


@dataclass(frozen=True, slots=True)
class Scores:
    """s[row, severity, vantage, target] of the emission rows asked for."""

    emissions: tuple[Emission, ...]
    values: Floats


@dataclass(frozen=True, slots=True)
class Ratios:
    """Log ratio of one attempt, per (row, severity, entry of `rows`); `rows` can all speak."""

    rows: Counts
    values: Floats


def log_ratios(
    block: Block,
    baseline: Baseline,
    *,
    emissions: Sequence[Emission],
    rows: Counts,
    severities: Sequence[float] = SEVERITIES,
) -> Ratios:
    """What one attempt of each entry says for each row of the tables, at each severity."""
    speak = np.zeros(len(rows.count), dtype=bool)
    base = np.ones(len(rows.count))
    for number in range(len(block.channels)):
        at = rows.channel == number
        cell = (rows.vantage[at], rows.target[at])
        speak[at] = baseline.informative[number][cell]
        base[at] = baseline.tables[number][(*cell, rows.outcome[at])]
    kept, normal = rows.where(speak), base[speak]
    fault = _fault_probability(block, emissions, rows=kept, normal=normal)
    severity = np.array(severities)[None, :, None]
    return Ratios(kept, np.log1p(severity * (fault[:, None, :] / normal - 1.0)))


def _fault_probability(
    block: Block, emissions: Sequence[Emission], *, rows: Counts, normal: Floats
) -> Floats:
    """E_h(o) of every entry: [row, entry]; where a row says nothing about a channel, its history."""
    fault = np.tile(normal, (len(emissions), 1))
    for number, channel in enumerate(block.channels):
        at = np.flatnonzero(rows.channel == number)
        for line, emission in enumerate(emissions):
            table = affected(emission, channel.kind)
            if table is not None:
                fault[line, at] = table[rows.outcome[at]]
    return fault


def temper(block: Block, rows: Counts) -> Floats:
    """Tempering factor of each entry's cell: 1 for a single attempt, falling as the cell is measured more."""
    shape = (len(block.vantages), len(block.targets), len(block.channels))
    cell = np.ravel_multi_index((rows.vantage, rows.target, rows.channel), shape)
    attempts = np.bincount(cell, weights=rows.count, minlength=int(np.prod(shape)))
    return np.asarray(1.0 / (1.0 + np.maximum(attempts[cell] - 1.0, 0.0) * CORRELATION))


def score(
    block: Block, baseline: Baseline, *, emissions: Sequence[Emission], rows: Counts
) -> Scores:
    """The evidence of some rows (all bins together) for each hypothesis, vantage and target."""
    merged = _merge_bins(block, rows)
    ratios = log_ratios(block, baseline, emissions=emissions, rows=merged)
    weight = ratios.rows.count * temper(block, ratios.rows)
    return Scores(tuple(emissions), _spread(block, ratios, weight))


def _spread(block: Block, ratios: Ratios, weight: Floats) -> Floats:
    shape = (len(block.vantages), len(block.targets))
    place = np.ravel_multi_index((ratios.rows.vantage, ratios.rows.target), shape)
    size = shape[0] * shape[1]
    lines = (ratios.values * weight).reshape(int(np.prod(ratios.values.shape[:2])), len(place))
    sums = [np.bincount(place, weights=line, minlength=size) for line in lines]
    return np.array(sums, dtype=np.float64).reshape(*ratios.values.shape[:2], *shape)


def _merge_bins(block: Block, rows: Counts) -> Counts:
    """The same counts without the bin: most entries of a window say the same thing again."""
    most = max(len(names) for names in OUTCOMES.values()) + 1
    shape = (len(block.vantages), len(block.targets), len(block.channels), most)
    if not len(rows.count):
        return rows
    index = np.ravel_multi_index((rows.vantage, rows.target, rows.channel, rows.outcome), shape)
    sums = np.bincount(index, weights=rows.count, minlength=int(np.prod(shape)))
    filled = np.flatnonzero(sums)
    vantage, target, channel, outcome = np.unravel_index(filled, shape)
    return Counts(
        vantage=vantage,
        target=target,
        channel=channel,
        bin=np.zeros(len(filled), dtype=np.int64),
        outcome=outcome,
        count=sums[filled].astype(np.float64),
    )
