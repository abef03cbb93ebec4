"""A claim put to the test: split into variants, each scored against "nobody did anything".

"It was a massive DDoS" is not one hypothesis. Its variants predict different things, and some of
them can be refuted from outside: a flood at the edge also hits the neighbours, exhausted state also
breaks connects, a flood of requests on the whole site also breaks the siblings. For each variant

    K = p(rows | variant) / p(rows | an organic crowd or a defect)

with scope, severity and coverage summed out, coverage zero included: a fault that only unseen
catchments feel pulls every K towards 1. A flood of requests at one component predicts exactly what a
crowd and a defect predict; its K is near 1 whatever happens, and the sheet says so.

K tells whether a mechanism explains the failure, not whether such traffic existed, and never what
anyone wanted. Context that people bring along is listed beside it and moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from analysis.core.atoms import COVERAGES, Evidence, mix
from analysis.core.block import Block, Bools, Floats
from analysis.core.conclude import NOT_PROBED, Weighing
from analysis.core.emission import SEVERITY_WEIGHTS
from analysis.core.judge import judge, weigh
from analysis.core.masks import Layout, lay_out, single
from analysis.core.posterior import TEMPERATURE, floored
from analysis.core.verdict import Verdict, stamp_text

CLAIM_COVERAGES: Final = (0.0, *COVERAGES)
DIGITS: Final = 3  # significant digits of K that are worth printing


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRule:
    """A variant as people mean it: what it says, what must be seen, and what contradicts it."""

    code: str
    says: str
    predicts: str
    contradicted_by: str
    shapes: tuple[str, ...]
    scope: str  # "network", "host", "service", "component", "names"


VARIANTS: Final[tuple[VariantRule, ...]] = (
    VariantRule(
        code="D1",
        says="volumetric flood on the edge or upstream",
        predicts="loss at the target and its neighbours, repeated SYNs, often a route change",
        contradicted_by="neighbours and siblings clean, ICMP and TCP at baseline",
        shapes=("saturated", "unreachable"),
        scope="network",
    ),
    VariantRule(
        code="D2",
        says="connection state exhausted",
        predicts="connects fail or slow down on every name behind the same address",
        contradicted_by="connects at baseline",
        shapes=("exhausted",),
        scope="host",
    ),
    VariantRule(
        code="D3",
        says="flood of requests on the whole site",
        predicts="overload or errors on all components, packets and connects clean",
        contradicted_by="siblings clean",
        shapes=("overload", "application"),
        scope="service",
    ),
    VariantRule(
        code="D4",
        says="flood of requests on one component",
        predicts="overload or errors on that component alone",
        contradicted_by="nothing that is visible from outside: it equals a crowd and a defect",
        shapes=("overload", "application"),
        scope="component",
    ),
    VariantRule(
        code="D5",
        says="flood on the name servers",
        predicts="names fail, pinned addresses answer",
        contradicted_by="names clean",
        shapes=("names",),
        scope="names",
    ),
)
ORDINARY: Final = {
    "O": "organic crowd: predicts what D4 (or D3) predicts",
    "B": "defect or lack of capacity: predicts what D4 (or D3) predicts",
}
LIMITS: Final = (
    (
        "K tells whether the claimed mechanism explains the failure, not whether such traffic existed: "
        "absorbed floods leave no trace out here"
    ),
    (
        "it holds for the networks listed; a fault confined to catchments that nobody measured would "
        "pull K towards 1"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is claimed of which component; `context` is quoted and never scored."""

    kind: str
    service: str
    component: str | None
    context: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantScore:
    """K of one variant; None when it cannot be tested, and `words` say why."""

    rule: VariantRule
    k: float | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSheet:
    """Every variant with its K and words, the limits, and the verdict that it stands beside."""

    claim: Claim
    variants: tuple[VariantScore, ...]
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "claim": self.claim.kind,
            "service": self.claim.service,
            "component": self.claim.component,
            "window": [stamp_text(verdict.window_from), stamp_text(verdict.window_to)],
            "as_of": stamp_text(verdict.as_of),
            "variants": {
                one.rule.code: {
                    "K": one.k,
                    "words": one.words,
                    "says": one.rule.says,
                    "predicts": one.rule.predicts,
                    "contradicted_by": one.rule.contradicted_by,
                }
                for one in self.variants
            },
            "ordinary": dict(ORDINARY),
            "limits": list(LIMITS),
            "seen_from": sorted({*verdict.groups_for, *verdict.groups_against}),
            "not_observed": list(verdict.not_observed),
            "context": list(self.claim.context),
            "verdict": verdict.to_json(),
            "model_version": verdict.model_version,
        }


def words_for(k: float) -> str:
    """The fixed words of a Bayes factor; none of them asserts an intent."""
    if k < 1 / 20:
        return "contradicted"
    if k < 1 / 3:
        return "evidence against"
    if k <= 3:
        return "not distinguishable"
    return "some support" if k <= 20 else "supported (mechanism only, not intent)"


def adjudicate(block: Block, claim: Claim) -> ClaimSheet:
    """Score every variant of a claim over the block's window."""
    verdict = judge(block, service=claim.service, component=claim.component)
    blocked = ("few_groups", "controls_down", "missing_data")
    reasons = [reason for reason in verdict.reasons if reason in blocked]
    probed = NOT_PROBED not in verdict.reasons
    layout = lay_out(
        block.targets, service=claim.service, component=claim.component if probed else None
    )
    if reasons or not layout.subjects:
        scores = tuple(_untestable(rule, reasons or list(verdict.reasons)) for rule in VARIANTS)
    else:
        scores = _scores(weigh(block, layout, alone=claim.component is not None), probed=probed)
    return ClaimSheet(claim=claim, variants=scores, verdict=verdict)


def _untestable(rule: VariantRule, reasons: list[str]) -> VariantScore:
    return VariantScore(rule=rule, k=None, words=f"not testable ({', '.join(reasons)})")


def _scores(weighing: Weighing, *, probed: bool) -> tuple[VariantScore, ...]:
    evidence, layout = weighing.evidence, weighing.layout
    parts = {rule.code: _weights(evidence, layout, rule) for rule in VARIANTS}
    ceiling = np.max([part.max(axis=0) for part, _ in parts.values()], axis=0)
    totals = {
        code: _total(part, prior=prior, ceiling=ceiling) for code, (part, prior) in parts.items()
    }
    ordinary = float(np.logaddexp(totals["D3"], totals["D4"]) - np.log(2))
    return tuple(
        _score(rule, (totals[rule.code] - ordinary) / TEMPERATURE)
        if probed or rule.scope != "component"
        else _untestable(rule, [NOT_PROBED])
        for rule in VARIANTS
    )


def _score(rule: VariantRule, log_k: float) -> VariantScore:
    k = float(f"{np.exp(log_k):.{DIGITS}g}")
    return VariantScore(rule=rule, k=k, words=words_for(k))


def _weights(evidence: Evidence, layout: Layout, rule: VariantRule) -> tuple[Floats, Floats]:
    """Log likelihood per group of every way in which the variant may hold, and their log priors."""
    masks = _masks(layout, rule.scope)
    lines = [line for shape in rule.shapes for line in evidence.lines(shape)]
    hits = evidence.hits(np.array(masks, dtype=float))[lines]
    groups = len(evidence.groups.names)
    likelihood = np.array(
        [mix(evidence.missed(), hits, np.full(groups, share)) for share in CLAIM_COVERAGES]
    )
    row = np.array([evidence.scores.emissions[line].weight for line in lines])
    prior = np.broadcast_to(
        np.log(row / row.sum())[None, :, None, None]
        + np.log(np.array(SEVERITY_WEIGHTS))[None, None, :, None]
        - np.log(len(masks) * len(CLAIM_COVERAGES)),
        likelihood.shape[:-1],
    )
    return likelihood.reshape(-1, groups), prior.reshape(-1)


def _total(likelihood: Floats, *, prior: Floats, ceiling: Floats) -> float:
    """Log evidence of a variant, with each group's say bounded as in any verdict."""
    bounded = floored(np.concatenate([likelihood, ceiling[None, :]]))[:-1]
    return float(np.logaddexp.reduce(prior + bounded.sum(axis=1)))


def _masks(layout: Layout, scope: str) -> tuple[Bools, ...]:
    alone = tuple(single(layout, number) for number in layout.subjects)
    if scope == "network":
        return (
            *(one | two for one, two in zip(layout.prefix, alone, strict=True)),
            *layout.network,
        )
    if scope == "host":
        return (*layout.host, layout.service)
    if scope == "service":
        return (layout.service,)
    return alone if scope == "component" else (*alone, layout.service)
