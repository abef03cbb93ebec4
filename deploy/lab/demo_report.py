"""What the demo found, beside what was done: the comparison, and its text for people.

Values in, values out. The comparison is as strict for a good result as for a bad one: a verdict that
names the right class at the wrong time, or clears a sibling it had no rows of, does not agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from deploy.lab.scenario import Expected

#: The onset may be off by this many bins: one because a bin is the resolution, one because a queue
#: has to fill before anybody waits.
ONSET_BINS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison: what it is about, and whether it agrees."""

    about: str
    agrees: bool


def compare(
    truth: Mapping[str, Any],
    verdict: Mapping[str, Any],
    sheet: Mapping[str, Any] | None,
    *,
    claims: Mapping[str, str],
    bin_s: int,
) -> list[Finding]:
    """Hold a verdict and a claim sheet against the truth."""
    accepted: Sequence[str] = truth["accepted_classes"]
    said = verdict["class"]
    findings = [
        Finding(about=f"class {said} (right: {' or '.join(accepted)})", agrees=said in accepted)
    ]
    if truth["onset_at"] is None:
        return findings
    findings.append(_component(truth, verdict))
    findings.append(_onset(truth, verdict, bin_s))
    for variant, words in claims.items():
        got = "nothing" if sheet is None else sheet["variants"][variant]["words"]
        findings.append(Finding(about=f"{variant} {got} (right: {words})", agrees=got == words))
    return findings


def _component(truth: Mapping[str, Any], verdict: Mapping[str, Any]) -> Finding:
    named = verdict["scope"]["components"] or [verdict["component"]]
    return Finding(
        about=f"component {', '.join(map(str, named))} (right: {truth['component']})",
        agrees=named == [truth["component"]],
    )


def _onset(truth: Mapping[str, Any], verdict: Mapping[str, Any], bin_s: int) -> Finding:
    if verdict["onset"] is None:
        return Finding(about="onset not found", agrees=False)
    late_s = stamp_s(verdict["onset"]) - truth["onset_at"]
    return Finding(
        about=f"onset {late_s:+.1f} s from the injected one (allowed: {ONSET_BINS * bin_s} s)",
        agrees=abs(late_s) <= ONSET_BINS * bin_s,
    )


def stamp_s(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 stamp."""
    return datetime.fromisoformat(text).timestamp()


def compare_around(
    expected: Expected, whole: Mapping[str, Any], incidents: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """Nobody else may be blamed: neither in the verdict on the whole service nor by an incident."""
    blamed = [] if whole["class"] == "healthy" else list(whole["scope"]["components"])
    right = [] if expected.healthy else [expected.component]
    raised = sorted({str(incident["component"]) for incident in incidents} - {"None"})
    return [
        Finding(
            about=f"failing in the service: {_listed(blamed)} (right: {_listed(right)})",
            agrees=blamed == right,
        ),
        Finding(
            about=f"incidents raised for: {_listed(raised)} (right: {_listed(right)})",
            agrees=raised == right and bool(incidents) != expected.healthy,
        ),
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def render(
    truth: Mapping[str, Any],
    verdict: Mapping[str, Any],
    sheet: Mapping[str, Any] | None,
    findings: Sequence[Finding],
) -> str:
    """The verdict, the claim sheet and the comparison, for people."""
    lines = ["", "VERDICT", f"  {verdict['sentence']}", ""]
    lines += _facts(verdict)
    if sheet is not None:
        lines += ["", 'CLAIM "it was a massive DDoS", variant by variant', *_variants(sheet)]
        lines += [f"  note: {limit}." for limit in sheet["limits"]]
    lines += ["", "TRUTH", *_truth(truth), ""]
    lines += [f"  {'agrees' if one.agrees else 'WRONG '}  {one.about}" for one in findings]
    return "\n".join(lines)


def _facts(verdict: Mapping[str, Any]) -> list[str]:
    certainty = "-" if verdict["probability"] is None else f"{verdict['probability']:.3f}"
    rows = [
        ("level", verdict["level"]),
        ("class", verdict["class"]),
        ("probability", certainty),
        ("holds if this many networks lie", verdict["certified_f"]),
        ("onset", verdict["onset"]),
        ("networks that saw it", len(verdict["groups_for"])),
        ("networks that did not", len(verdict["groups_against"])),
        ("cannot be told apart", "; ".join(verdict["mechanisms"])),
        ("not observed", "; ".join(verdict["not_observed"])),
        ("reasons", ", ".join(verdict["reasons"])),
    ]
    return [f"  {name:<32} {value}" for name, value in rows if value not in {"", None}]


def _variants(sheet: Mapping[str, Any]) -> list[str]:
    return [
        f"  {code}  {_k(one['K']):>10}  {one['words']:<34} {one['says']}"
        for code, one in sheet["variants"].items()
    ]


def _k(value: float | None) -> str:
    return "K unknown" if value is None else f"K={value:.2g}"


def _truth(truth: Mapping[str, Any]) -> list[str]:
    done = [f"  {one['mechanism']} ({one['where']})" for one in truth["faults"]]
    return done or ["  nothing was done"]
