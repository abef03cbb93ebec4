"""What a judgement is, as a value: everything that a page, a report or a score needs to know.

The field names of `to_json` are a public contract: the columns of predictions carry the same names.
Times are UTC. `onset` and `end` are one best estimate each; the intervals beside them are what the
rows support.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from analysis.core.taxonomy import LEAVES, Level, VerdictClass, level_of

# Changes whenever the same rows could get another verdict: tables, gates, thresholds or code.
MODEL_VERSION: Final = "3"
# More digits would be the order in which floats were summed, not knowledge.
DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Interval:
    """An instant that is known only within bounds; `best` lies inside them."""

    low: datetime
    high: datetime
    best: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """For what and for whom the verdict holds; empty where it does not apply."""

    service: str
    components: tuple[str, ...] = ()
    families: tuple[int, ...] = ()
    prefix: str | None = None
    vantages: tuple[str, ...] = ()
    asns: tuple[int, ...] = ()
    countries: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "components": list(self.components),
            "families": list(self.families),
            "prefix": self.prefix,
            "vantages": list(self.vantages),
            "asns": list(self.asns),
            "countries": list(self.countries),
        }

    def to_text(self) -> str:
        """One cell of a table: `service=x component=spaces`."""
        parts = [f"service={self.service}"]
        parts += [f"component={name}" for name in self.components]
        parts += [f"asn={asn}" for asn in self.asns]
        parts += [f"country={country}" for country in self.countries]
        parts += [f"vantage={name}" for name in self.vantages]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One sentence, the question that anyone can ask again, and the value that it gave."""

    sentence: str
    sql: str
    value: float | int | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judgement over one window, from rows received up to `as_of`.

    `probability` belongs to `verdict_class` (a parent's is the sum of its leaves) and is None when
    the evidence does not suffice. `quarantined` names the vantage points that weighed nothing. `certified_f` is how many vantage groups may lie without turning
    the verdict over; None when it does not even hold with none of them lying.
    """

    scenario: str | None
    service: str
    component: str | None
    verdict_class: VerdictClass
    target_class: VerdictClass
    source_class: VerdictClass
    probability: float | None
    certified_f: int | None
    onset: Interval | None
    end: Interval | None
    scope: Scope
    reasons: tuple[str, ...]
    posterior: Mapping[VerdictClass, float]
    sentence: str
    groups_for: tuple[str, ...]
    groups_against: tuple[str, ...]
    mechanisms: tuple[str, ...]
    not_observed: tuple[str, ...]
    counter_evidence: tuple[str, ...]
    window_from: datetime
    window_to: datetime
    as_of: datetime
    evidence: tuple[Evidence, ...] = ()
    quarantined: tuple[str, ...] = ()
    model_version: str = MODEL_VERSION

    @property
    def level(self) -> Level:
        return level_of(self.verdict_class)

    def to_json(self) -> dict[str, Any]:
        """Plain values under the contract's names, ready for json.dumps."""
        return {
            "scenario": self.scenario,
            "service": self.service,
            "component": self.component,
            "level": self.level.value,
            "class": self.verdict_class.value,
            "target_class": self.target_class.value,
            "source_class": self.source_class.value,
            "probability": None if self.probability is None else round(self.probability, DIGITS),
            "certified_f": self.certified_f,
            "onset": _best(self.onset),
            "onset_interval": _bounds(self.onset),
            "end": _best(self.end),
            "end_interval": _bounds(self.end),
            "scope": self.scope.to_json(),
            "reasons": list(self.reasons),
            **{f"p_{leaf.value}": round(self.posterior.get(leaf, 0.0), DIGITS) for leaf in LEAVES},
            "sentence": self.sentence,
            "groups_for": list(self.groups_for),
            "groups_against": list(self.groups_against),
            "mechanisms": list(self.mechanisms),
            "not_observed": list(self.not_observed),
            "counter_evidence": list(self.counter_evidence),
            "window": [stamp_text(self.window_from), stamp_text(self.window_to)],
            "as_of": stamp_text(self.as_of),
            "quarantined": list(self.quarantined),
            "model_version": self.model_version,
            "evidence": [
                {"sentence": one.sentence, "sql": one.sql, "value": one.value}
                for one in self.evidence
            ],
        }


def verdict_from_json(body: Mapping[str, Any]) -> Verdict:
    """The value that `to_json` wrote down, as far as it keeps digits."""
    scope = body["scope"]
    return Verdict(
        scenario=body["scenario"],
        service=body["service"],
        component=body["component"],
        verdict_class=VerdictClass(body["class"]),
        target_class=VerdictClass(body["target_class"]),
        source_class=VerdictClass(body["source_class"]),
        probability=body["probability"],
        certified_f=body["certified_f"],
        onset=_interval(body["onset"], body["onset_interval"]),
        end=_interval(body["end"], body["end_interval"]),
        scope=Scope(
            service=scope["service"],
            prefix=scope["prefix"],
            **{name: tuple(scope[name]) for name in _SCOPE_LISTS},
        ),
        posterior={leaf: body[f"p_{leaf.value}"] for leaf in LEAVES},
        sentence=body["sentence"],
        window_from=stamp(body["window"][0]),
        window_to=stamp(body["window"][1]),
        as_of=stamp(body["as_of"]),
        evidence=tuple(Evidence(**one) for one in body["evidence"]),
        quarantined=tuple(body.get("quarantined", ())),
        model_version=body["model_version"],
        **{name: tuple(body[name]) for name in _LISTS},
    )


_SCOPE_LISTS: Final = ("components", "families", "vantages", "asns", "countries")
_LISTS: Final = (
    "reasons",
    "groups_for",
    "groups_against",
    "mechanisms",
    "not_observed",
    "counter_evidence",
)


def _interval(best: str | None, bounds: list[str] | None) -> Interval | None:
    if best is None or bounds is None:
        return None
    return Interval(stamp(bounds[0]), stamp(bounds[1]), stamp(best))


def stamp(text: str) -> datetime:
    """A UTC time from ISO 8601; a text without an offset means UTC."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def stamp_text(at: datetime) -> str:
    """ISO 8601 with Z, whole seconds where they are whole."""
    return at.isoformat().replace("+00:00", "Z")


def _best(interval: Interval | None) -> str | None:
    return None if interval is None else stamp_text(interval.best)


def _bounds(interval: Interval | None) -> list[str] | None:
    return None if interval is None else [stamp_text(interval.low), stamp_text(interval.high)]
