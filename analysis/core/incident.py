"""Runs of verdicts that say the same of the same thing, with one name for as long as they last.

Windows slide and late rows revise them, so the same fault is judged many times. Verdicts of one
service and component join an incident while their times touch (up to `GAP` apart) and their level
stays the same: an incident that turns from local to upstream is two stories, one that turns from
`application` to `overload` is one story told better. An incident keeps its name over revisions: a
new fold that overlaps a known incident inherits its id and counts its revision up when it says
something new. Folding the second half with the first half known gives what folding all gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from analysis.core.taxonomy import Level, VerdictClass, level_of
from analysis.core.verdict import Interval, Verdict, stamp_text

GAP: Final = timedelta(minutes=3)  # quiet for longer than that, and the next fault is another one
_QUIET: Final = frozenset({Level.HEALTHY, Level.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One story. `began` and `until` span what its verdicts cover; `end` None = still open."""

    incident_id: str
    revision: int
    scenario: str | None
    service: str
    component: str | None
    verdict_class: VerdictClass
    probability: float
    onset: Interval | None
    end: Interval | None
    began: datetime
    until: datetime
    sentence: str
    verdicts: int

    @property
    def level(self) -> Level:
        return level_of(self.verdict_class)

    @property
    def is_open(self) -> bool:
        return self.end is None

    def to_json(self) -> dict[str, Any]:
        """Plain values, named as in a verdict."""
        return {
            "incident_id": self.incident_id,
            "revision": self.revision,
            "scenario": self.scenario,
            "service": self.service,
            "component": self.component,
            "level": self.level.value,
            "class": self.verdict_class.value,
            "state": "open" if self.is_open else "ended",
            "probability": round(self.probability, 6),
            "onset": stamp_text(self.onset.best) if self.onset else None,
            "end": stamp_text(self.end.best) if self.end else None,
            "sentence": self.sentence,
            "verdicts": self.verdicts,
        }


def fold(
    verdicts: Iterable[Verdict], known: Sequence[Incident] = (), *, gap: timedelta = GAP
) -> tuple[Incident, ...]:
    """Known incidents brought up to date with verdicts, one per window (the latest revision)."""
    incidents = list(known)
    for verdict in sorted(verdicts, key=lambda one: (one.window_from, one.window_to)):
        if verdict.level in _QUIET:
            incidents = [_closed_by(one, verdict, gap) for one in incidents]
            continue
        place = next((i for i, one in enumerate(incidents) if _same(one, verdict, gap)), None)
        if place is None:
            incidents.append(_opened(verdict))
        else:
            incidents[place] = _continued(incidents[place], verdict)
    return tuple(sorted(incidents, key=lambda one: (one.began, one.incident_id)))


def _subject(one: Incident | Verdict) -> tuple[str | None, str, str | None]:
    return (one.scenario, one.service, one.component)


def _began(verdict: Verdict) -> datetime:
    return verdict.onset.best if verdict.onset else verdict.window_from


def _until(verdict: Verdict) -> datetime:
    return verdict.end.best if verdict.end else verdict.window_to


def _same(incident: Incident, verdict: Verdict, gap: timedelta) -> bool:
    touches = _began(verdict) <= incident.until + gap and _until(verdict) >= incident.began - gap
    return _subject(incident) == _subject(verdict) and incident.level is verdict.level and touches


def _opened(verdict: Verdict) -> Incident:
    name = f"{verdict.scenario}|{verdict.service}|{verdict.component}|{_began(verdict).isoformat()}"
    return Incident(
        incident_id=sha256(name.encode()).hexdigest()[:12],
        revision=1,
        scenario=verdict.scenario,
        service=verdict.service,
        component=verdict.component,
        verdict_class=verdict.verdict_class,
        probability=verdict.probability or 0.0,
        onset=verdict.onset,
        end=verdict.end,
        began=_began(verdict),
        until=_until(verdict),
        sentence=verdict.sentence,
        verdicts=1,
    )


def _continued(incident: Incident, verdict: Verdict) -> Incident:
    """The surer verdict words the story; a tie goes to the later one."""
    surer = (verdict.probability or 0.0) >= incident.probability
    later = _until(verdict) >= incident.until
    following = replace(
        incident,
        verdict_class=verdict.verdict_class if surer else incident.verdict_class,
        probability=max(verdict.probability or 0.0, incident.probability),
        sentence=verdict.sentence if surer else incident.sentence,
        onset=_earlier(incident.onset, verdict.onset),
        end=verdict.end if later else incident.end,
        began=min(incident.began, _began(verdict)),
        until=max(incident.until, _until(verdict)),
        verdicts=incident.verdicts + 1,
    )
    says_new = (following.verdict_class, following.onset, following.end) != (
        incident.verdict_class,
        incident.onset,
        incident.end,
    )
    return replace(following, revision=incident.revision + 1) if says_new else following


def _earlier(one: Interval | None, two: Interval | None) -> Interval | None:
    if one is None or two is None:
        return one or two
    return min(one, two, key=lambda interval: interval.best)


def _closed_by(incident: Incident, verdict: Verdict, gap: timedelta) -> Incident:
    """A healthy verdict about the same thing, later than all of it, ends an open incident."""
    over = verdict.level is Level.HEALTHY and verdict.window_from >= incident.began
    after = verdict.window_to > incident.until + gap
    if not (incident.is_open and over and after and _subject(incident) == _subject(verdict)):
        return incident
    end = Interval(incident.until, max(incident.until, verdict.window_from), incident.until)
    return replace(incident, end=end, revision=incident.revision + 1)
