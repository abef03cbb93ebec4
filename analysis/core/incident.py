"""Runs of verdicts that say the same of the same thing, with one name for as long as they last.

Windows slide and late rows revise them, so the same fault is judged many times. Verdicts of one
service and component join an incident while their times touch (up to `GAP` apart) and their level
stays the same: an incident that turns from local to upstream is two stories, one that turns from
`application` to `overload` is one story told better. An incident keeps its name over revisions: a
new fold that overlaps a known incident inherits its id and counts its revision up when it says
something new. Folding the second half with the first half known gives what folding all gives.

An incident says what its windows say, each by its newest verdict. It therefore remembers what every
window adds: a window that is judged anew replaces its part, one that turns out well takes its part
away, and an incident whose last part is gone is withdrawn. It is not forgotten: whoever read it can
read that it was wrong. Windows older than `SETTLED` are past revising and melt into one part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from hashlib import sha256
from typing import Any, Final

from analysis.core.taxonomy import Level, VerdictClass, level_of
from analysis.core.verdict import Interval, Verdict, stamp_text

GAP: Final = timedelta(minutes=3)  # quiet for longer than that, and the next fault is another one
SETTLED: Final = timedelta(days=1)  # the final watermark: rows this late revise no window
WITHDRAWN: Final = "withdrawn: later rows did not bear it out"
_QUIET: Final = frozenset({Level.HEALTHY, Level.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one window adds to an incident. `window` None = several, settled."""

    window: tuple[datetime, datetime] | None
    verdict_class: VerdictClass
    probability: float
    onset: Interval | None
    end: Interval | None
    began: datetime
    until: datetime
    sentence: str
    verdicts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One story. `began` and `until` span what its verdicts cover; `end` None = still open.

    `parts` is what supports it, by time; without any it is withdrawn and its other fields say what
    it claimed.
    """

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
    parts: tuple[Part, ...]

    @property
    def level(self) -> Level:
        return level_of(self.verdict_class)

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    @property
    def state(self) -> str:
        """`open`, `ended`, or `withdrawn` when no window supports it any more."""
        if not self.parts:
            return "withdrawn"
        return "open" if self.end is None else "ended"

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
            "state": self.state,
            "probability": round(self.probability, 6),
            "onset": stamp_text(self.onset.best) if self.onset else None,
            "end": stamp_text(self.end.best) if self.end else None,
            "sentence": self.sentence,
            "verdicts": self.verdicts,
        }


def fold(
    verdicts: Iterable[Verdict], known: Sequence[Incident] = (), *, gap: timedelta = GAP
) -> tuple[Incident, ...]:
    """Known incidents brought up to date with verdicts; of one window the newest verdict counts."""
    incidents = list(known)
    for verdict in sorted(verdicts, key=lambda one: (one.window_from, one.window_to, one.as_of)):
        place = _place(incidents, verdict, gap)
        incidents = [
            one if i == place else _without(one, verdict) for i, one in enumerate(incidents)
        ]
        if verdict.level in _QUIET:
            incidents = [_closed_by(one, verdict, gap) for one in incidents]
        elif place is None:
            incidents.append(_opened(verdict))
        else:
            incidents[place] = _continued(incidents[place], verdict)
    return tuple(sorted(incidents, key=lambda one: (one.began, one.incident_id)))


def _place(incidents: Sequence[Incident], verdict: Verdict, gap: timedelta) -> int | None:
    """The incident that the verdict speaks of: the one that holds its window before any other."""
    if verdict.level in _QUIET:
        return None
    fitting = [i for i, one in enumerate(incidents) if _same(one, verdict, gap)]
    holding = [i for i in fitting if _holds(incidents[i], verdict)]
    return next(iter((*holding, *fitting)), None)


def _window(verdict: Verdict) -> tuple[datetime, datetime]:
    return (verdict.window_from, verdict.window_to)


def _holds(incident: Incident, verdict: Verdict) -> bool:
    return any(part.window == _window(verdict) for part in incident.parts)


def _subject(one: Incident | Verdict) -> tuple[str | None, str, str | None]:
    return (one.scenario, one.service, one.component)


def _began(verdict: Verdict) -> datetime:
    return verdict.onset.best if verdict.onset else verdict.window_from


def _until(verdict: Verdict) -> datetime:
    return verdict.end.best if verdict.end else verdict.window_to


def _same(incident: Incident, verdict: Verdict, gap: timedelta) -> bool:
    touches = _began(verdict) <= incident.until + gap and _until(verdict) >= incident.began - gap
    return _subject(incident) == _subject(verdict) and incident.level is verdict.level and touches


def part_of(verdict: Verdict) -> Part:
    """What the verdict adds to an incident."""
    return Part(
        window=_window(verdict),
        verdict_class=verdict.verdict_class,
        probability=verdict.probability or 0.0,
        onset=verdict.onset,
        end=verdict.end,
        began=_began(verdict),
        until=_until(verdict),
        sentence=verdict.sentence,
    )


def _opened(verdict: Verdict) -> Incident:
    name = f"{verdict.scenario}|{verdict.service}|{verdict.component}|{_began(verdict).isoformat()}"
    part = part_of(verdict)
    return Incident(
        incident_id=sha256(name.encode()).hexdigest()[:12],
        revision=1,
        scenario=verdict.scenario,
        service=verdict.service,
        component=verdict.component,
        verdict_class=part.verdict_class,
        probability=part.probability,
        onset=part.onset,
        end=part.end,
        began=part.began,
        until=part.until,
        sentence=part.sentence,
        verdicts=1,
        parts=(part,),
    )


def _continued(incident: Incident, verdict: Verdict) -> Incident:
    """The story with the window's newest part in the place of an older one."""
    others = [part for part in incident.parts if part.window != _window(verdict)]
    following = supported(incident, (*others, part_of(verdict)))
    later = not incident.parts or _until(verdict) >= following.until
    return _counted(incident, following if later else replace(following, end=incident.end))


def supported(incident: Incident, parts: Sequence[Part]) -> Incident:
    """The story that the parts (one at least) tell, under the incident's name and revision."""
    ordered = _settled(sorted(parts, key=lambda part: (part.until, part.began)))
    whole = reduce(_joined, ordered)
    return replace(
        incident,
        verdict_class=whole.verdict_class,
        probability=whole.probability,
        sentence=whole.sentence,
        onset=whole.onset,
        end=whole.end,
        began=whole.began,
        until=whole.until,
        verdicts=whole.verdicts,
        parts=ordered,
    )


def _settled(ordered: Sequence[Part]) -> tuple[Part, ...]:
    """Old parts melted into one, so that a fault of a month takes no more room than one of a day."""
    since = ordered[-1].until - SETTLED
    old = [part for part in ordered if part.until < since]
    recent = ordered[len(old) :]
    return (replace(reduce(_joined, old), window=None), *recent) if old else tuple(recent)


def _joined(one: Part, later: Part) -> Part:
    """The surer one words the story; a tie goes to the later one."""
    surer = later if later.probability >= one.probability else one
    return replace(
        surer,
        onset=_earlier(one.onset, later.onset),
        end=later.end,
        began=min(one.began, later.began),
        until=later.until,
        verdicts=one.verdicts + later.verdicts,
    )


def _counted(before: Incident, after: Incident) -> Incident:
    """One revision more when it says something new."""
    says = [(one.verdict_class, one.onset, one.end, one.state) for one in (before, after)]
    return replace(after, revision=before.revision + (says[0] != says[1]))


def _taken_back(before: Incident, after: Incident) -> Incident:
    """One revision more also when only the sentence fell with the window that had given it."""
    counted = _counted(before, after)
    renewed = counted.revision == before.revision and after.sentence != before.sentence
    return replace(counted, revision=counted.revision + renewed)


def _without(incident: Incident, verdict: Verdict) -> Incident:
    """The window says something else by now: its part is taken away, and with the last one all."""
    if not (_subject(incident) == _subject(verdict) and _holds(incident, verdict)):
        return incident
    left = [part for part in incident.parts if part.window != _window(verdict)]
    if not left:
        sentence = f"{WITHDRAWN} (it said: {incident.sentence})"
        return _taken_back(incident, replace(incident, parts=(), verdicts=0, sentence=sentence))
    following = supported(incident, left)
    if incident.end is not None and following.end is None:
        following = replace(following, end=_no_later(incident.end, following.until))
    return _taken_back(incident, following)


def _no_later(end: Interval, until: datetime) -> Interval:
    """An end that healthy windows gave, moved back to where the support now stops."""
    return Interval(min(end.low, until), end.high, min(end.best, until))


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
