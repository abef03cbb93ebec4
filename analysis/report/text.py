"""Verdicts, incidents and claim sheets as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.core.claim import LIMITS, ORDINARY, ClaimSheet
from analysis.core.incident import Incident
from analysis.core.taxonomy import CODE, LEAVES, VerdictClass
from analysis.core.verdict import Interval, Verdict, stamp_text


def render_verdict(verdict: Verdict, *, explain: bool = False) -> str:
    """The sentence first, then what it rests on; `explain` adds the posterior and the SQL."""
    lines = [verdict.sentence, ""]
    lines += [f"  {name:<13}{text}" for name, text in _facts(verdict) if text]
    if verdict.evidence:
        lines += ["", "  evidence"]
        lines += [f"    {one.sentence}" for one in verdict.evidence]
    if explain:
        lines += _explained(verdict)
    return "\n".join(lines)


def _facts(verdict: Verdict) -> list[tuple[str, str]]:
    sure = "" if verdict.probability is None else f", probability {verdict.probability:.2f}"
    code = CODE.get(verdict.verdict_class)
    named = verdict.verdict_class.value + (f" [{code}]" if code else "")
    return [
        ("level", verdict.level.value),
        ("class", f"{named}{sure}"),
        ("target", verdict.target_class.value),
        ("source", verdict.source_class.value),
        ("scope", verdict.scope.to_text()),
        ("over", " and ".join(f"IPv{family}" for family in verdict.scope.families)),
        ("window", f"{stamp_text(verdict.window_from)} to {stamp_text(verdict.window_to)}"),
        ("onset", _span(verdict.onset)),
        ("end", _span(verdict.end)),
        ("seen by", ", ".join(verdict.groups_for)),
        ("not by", ", ".join(verdict.groups_against)),
        ("certified", _certified(verdict)),
        ("quarantined", ", ".join(verdict.quarantined)),
        ("reasons", ", ".join(verdict.reasons)),
        ("may be", "; ".join(verdict.mechanisms)),
        ("not observed", "; ".join(verdict.not_observed)),
        ("but", "; ".join(verdict.counter_evidence)),
        ("as of", f"{stamp_text(verdict.as_of)}, model {verdict.model_version}"),
    ]


def _certified(verdict: Verdict) -> str:
    """How many networks may lie; of a verdict that rests on too little to know, that."""
    if verdict.target_class is VerdictClass.INSUFFICIENT:
        return ""
    lies = verdict.certified_f
    return "not certified" if lies is None else f"holds with {lies} lying networks"


def _span(interval: Interval | None) -> str:
    if interval is None:
        return ""
    low, high = stamp_text(interval.low), stamp_text(interval.high)
    return f"{stamp_text(interval.best)} (between {low} and {high})"


def _explained(verdict: Verdict) -> list[str]:
    ranked = sorted(LEAVES, key=lambda leaf: -verdict.posterior.get(leaf, 0.0))
    lines = ["", "  posterior"]
    lines += [f"    {leaf.value:<24}{verdict.posterior.get(leaf, 0.0):.4f}" for leaf in ranked]
    for one in verdict.evidence:
        lines += ["", f"  -- {one.sentence}  value: {one.value}"]
        lines += [f"    {line}" for line in one.sql.splitlines()]
    return lines


def render_claim(sheet: ClaimSheet) -> str:
    """One line per variant, then what the sheet cannot say."""
    about = sheet.claim.service + (f" {sheet.claim.component}" if sheet.claim.component else "")
    lines = [f"Claim {sheet.claim.kind!r} about {about}", ""]
    for one in sheet.variants:
        k = "K not known" if one.k is None else f"K = {one.k:.3g}"
        lines += [f"  {one.rule.code}  {one.rule.says:<40} {one.words:<40} {k}"]
        lines += [f"      predicts: {one.rule.predicts}"]
        lines += [f"      contradicted by: {one.rule.contradicted_by}"]
    lines += [f"  {code}   {text}" for code, text in ORDINARY.items()]
    lines += ["", *(f"  limit: {text}" for text in LIMITS)]
    lines += [f"  context (not scored): {text}" for text in sheet.claim.context]
    return "\n".join([*lines, "", render_verdict(sheet.verdict)])


def render_incidents(incidents: Sequence[Incident]) -> str:
    """One paragraph per incident."""
    if not incidents:
        return "No incident."
    return "\n\n".join(_incident(one) for one in incidents)


def _incident(one: Incident) -> str:
    start = stamp_text(one.onset.best if one.onset else one.began)
    end = stamp_text(one.end.best) if one.end else "still open"
    end = "no end: withdrawn" if one.state == "withdrawn" else end
    head = f"{one.incident_id}  {one.level.value}: {one.verdict_class.value}  {start} to {end}"
    return f"{head}\n  {one.sentence}"


def render_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns; what is not known reads NULL."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    rule = "  ".join("-" * width for width in widths)
    body = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(columns), *cells]
    ]
    return "\n".join([body[0], rule, *body[1:]])


def _cell(value: object) -> str:
    return "NULL" if value is None else str(value)
