"""The source axis: is it the vantage point, its network, its country?

Scored apart from the target axis and per vantage, because a network's fault cannot be seen through
weights that give the network one vote. Each network with at least two vantage points, and each
country with at least two networks, is compared with the same vantages having failed independently:

    L(AS) = sum over v of [log(.03 + .97 e^l) - log(.98 + .02 e^l)] + log prior,  l clipped to +-6

The evidence l leaves the judged service and its prefix out. A fault that takes away nearly every
group at once is not ours to place: then the controls are down, and nothing can be said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core.block import Bools, Floats, Vantage
from analysis.core.groups import group_name
from analysis.core.health import broken_probability
from analysis.core.taxonomy import VerdictClass

C = VerdictClass

CLIP: Final = 6.0
AS_PRIOR: Final = 0.03
COUNTRY_PRIOR: Final = 0.01
ALL_DOWN_SHARE: Final = 0.6  # of groups: beyond it "broken vantages" is the wrong question
SURE: Final = 0.8
MIN_CONTROLS: Final = 3  # unrelated targets; fewer may all be down by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFinding:
    """Probabilities of the source classes (the rest is "no fault"), and who is affected."""

    verdict_class: VerdictClass
    probabilities: Mapping[VerdictClass, float]
    broken: Bools
    vantages: tuple[str, ...] = ()
    asns: tuple[int, ...] = ()
    countries: tuple[str, ...] = ()


def unknown_source(vantages: int) -> SourceFinding:
    """Too little was asked to know anything of the source side."""
    return SourceFinding(
        verdict_class=C.INSUFFICIENT, probabilities={}, broken=np.zeros(vantages, dtype=bool)
    )


def find_source(vantages: Sequence[Vantage], broken: Floats, *, asked: Bools) -> SourceFinding:
    """Judge the source axis from lambda_v [V]; `asked` are the vantages that have any evidence."""
    chance = broken_probability(broken) * asked
    down = np.asarray(chance > 0.5)
    if _all_down(vantages, down=down, asked=asked):
        return SourceFinding(verdict_class=C.INSUFFICIENT, probabilities={}, broken=down)
    networks = _common(vantages, broken, asked=asked, country=False)
    countries = _common(vantages, broken, asked=asked, country=True)
    probabilities = _weigh(chance, networks, countries)
    leaf = max(probabilities, key=lambda one: probabilities[one])
    sure = probabilities[leaf] >= SURE
    return SourceFinding(
        verdict_class=leaf if sure else _parent(probabilities),
        probabilities=probabilities,
        broken=down,
        vantages=tuple(vantages[int(i)].name for i in np.flatnonzero(down)),
        asns=_affected_asns(vantages, down, networks),
        countries=tuple(sorted(name for name, odds in countries.items() if odds > 0)),
    )


def _parent(probabilities: Mapping[VerdictClass, float]) -> VerdictClass:
    """Not sure of a leaf: the parent, if it is a fault of the source side at all."""
    return C.SOURCE if sum(probabilities.values()) >= SURE else C.HEALTHY


def _all_down(vantages: Sequence[Vantage], *, down: Bools, asked: Bools) -> bool:
    """Nearly all groups at once: our anchors or the coordinator, not the networks of vantages."""
    groups = {group_name(vantages[int(i)]) for i in np.flatnonzero(asked)}
    well = {group_name(vantages[int(i)]) for i in np.flatnonzero(asked & ~down)}
    lost = len(groups) - len(well)
    return len(groups) > 1 and lost >= ALL_DOWN_SHARE * len(groups)


def _common(
    vantages: Sequence[Vantage], broken: Floats, *, asked: Bools, country: bool
) -> dict[str, float]:
    """Log odds of a fault that its members share, per network or per country."""
    level = np.clip(broken, -CLIP, CLIP)
    gain = np.log(0.03 + 0.97 * np.exp(level)) - np.log(0.98 + 0.02 * np.exp(level))
    odds: dict[str, float] = {}
    for name in sorted({_name(one, country=country) or "" for one in vantages} - {""}):
        inside = asked & np.array([_name(one, country=country) == name for one in vantages])
        if _enough(vantages, inside, country=country):
            prior = COUNTRY_PRIOR if country else AS_PRIOR
            odds[name] = float(gain[inside].sum() + np.log(prior))
    return odds


def _name(vantage: Vantage, *, country: bool) -> str | None:
    if country:
        return vantage.country
    return None if vantage.asn is None else group_name(vantage)


def _enough(vantages: Sequence[Vantage], inside: Bools, *, country: bool) -> bool:
    members = [vantages[int(i)] for i in np.flatnonzero(inside)]
    if country:
        return len({one.asn for one in members if one.asn is not None}) > 1
    return len(members) > 1


def _weigh(
    chance: Floats, networks: Mapping[str, float], countries: Mapping[str, float]
) -> dict[VerdictClass, float]:
    """Shares of independent, per-network and per-country faults; several of one sort may hold."""
    logs = np.array([0.0, _any_of(networks), _any_of(countries)])
    share = np.exp(logs - logs.max())
    share /= share.sum()
    somewhere = 1.0 - float(np.prod(1.0 - chance))
    return {
        C.VANTAGE_LOCAL: float(share[0]) * somewhere,
        C.ACCESS_NETWORK: float(share[1]),
        C.COUNTRY: float(share[2]),
    }


def _any_of(odds: Mapping[str, float]) -> float:
    """One of them, or all those together that speak for themselves."""
    values = list(odds.values())
    together = [value for value in values if value > 0]
    alternatives = values + ([sum(together)] if len(together) > 1 else [])
    return float(np.logaddexp.reduce(alternatives)) if alternatives else -np.inf


def _affected_asns(
    vantages: Sequence[Vantage], down: Bools, networks: Mapping[str, float]
) -> tuple[int, ...]:
    shared = {name for name, odds in networks.items() if odds > 0}
    found = {
        one.asn
        for one, is_down in zip(vantages, down, strict=True)
        if one.asn is not None and (is_down or group_name(one) in shared)
    }
    return tuple(sorted(found))
