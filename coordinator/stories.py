"""Incidents as verdicts come in: folded by analysis, kept in memory, written in revisions.

What is open, or ended within a day, is remembered, because late rows may still change it. After a
restart it is read back from the store, so an incident keeps its name over restarts as well.

Folding thinks forward in time, but a backlog is judged newest first: a window of the past may
reopen a story that the present had already ended. The verdicts since then that say that all is well
are therefore folded in once more after an older window; that changes nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from analysis.core.incident import Incident, fold, part_of, supported
from analysis.core.taxonomy import Level
from analysis.core.verdict import Interval, Verdict, stamp_text, verdict_from_json
from analysis.store.recording import incident_from_json

REMEMBERED: Final = timedelta(days=1)
"""The final watermark: what came in until then may change a story."""


QUIET_KEPT: Final = 60
"""Healthy verdicts remembered per subject: an hour of bins, more than a backlog is behind."""

About = tuple[str, str | None]
"""Service and component."""


@dataclass(frozen=True, slots=True)
class Stories:
    """The incidents that may still change. A value: what was told is kept only once it is written."""

    known: tuple[Incident, ...] = ()
    worded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # id -> its verdict
    quiet: Mapping[About, tuple[Verdict, ...]] = field(default_factory=dict)  # oldest first


News = tuple[tuple[Incident, Mapping[str, Any]], ...]
"""Incidents that say something new, each with its body."""


def tell(stories: Stories, verdicts: Sequence[Verdict]) -> tuple[Stories, News]:
    """Fold verdicts in."""
    before = {one.incident_id: one for one in stories.known}
    quiet = _with_quiet(stories.quiet, verdicts)
    since = [
        one for v in verdicts for one in quiet.get(_about(v), ()) if one.window_to > v.window_to
    ]
    after = fold((*verdicts, *since), stories.known)
    worded = dict(stories.worded)
    for one in after:
        words = _words(one, before.get(one.incident_id), verdicts)
        if words is not None:
            worded[one.incident_id] = words.to_json()
        elif worded.get(one.incident_id, {}).get("sentence") != one.sentence:
            worded.pop(one.incident_id, None)  # the verdict that had worded it was taken back
    news = tuple(
        (one, body_of(one, worded.get(one.incident_id)))
        for one in after
        if one.incident_id not in before or before[one.incident_id].revision < one.revision
    )
    return Stories(after, worded, quiet), news


def _about(verdict: Verdict) -> About:
    return (verdict.service, verdict.component)


def _with_quiet(
    quiet: Mapping[About, tuple[Verdict, ...]], verdicts: Sequence[Verdict]
) -> dict[About, tuple[Verdict, ...]]:
    """The last healthy verdicts of each subject; a new answer takes the place of the old one."""
    kept = dict(quiet)
    for verdict in verdicts:
        others = [v for v in kept.get(_about(verdict), ()) if v.window_to != verdict.window_to]
        healthy = [verdict] if verdict.level is Level.HEALTHY else []
        ordered = sorted((*others, *healthy), key=lambda one: one.window_to)
        kept[_about(verdict)] = tuple(ordered[-QUIET_KEPT:])
    return kept


def _words(one: Incident, old: Incident | None, verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict whose sentence the incident carries now; None = still the one before."""
    if old is not None and (old.sentence, old.probability) == (one.sentence, one.probability):
        return None
    about = (one.service, one.component)
    same = [v for v in verdicts if (v.service, v.component) == about and v.sentence == one.sentence]
    return same[-1] if same else None


def forget(stories: Stories, *, now: datetime) -> Stories:
    """Let go of what ended too long ago to change."""
    known = tuple(one for one in stories.known if one.is_open or one.until >= now - REMEMBERED)
    kept = {one.incident_id for one in known}
    worded = {name: body for name, body in stories.worded.items() if name in kept}
    return Stories(known, worded, stories.quiet)


def body_of(incident: Incident, verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    """The incident as JSON, with what is needed to go on with it and the verdict that words it."""
    return {
        **incident.to_json(),
        "began": stamp_text(incident.began),
        "until": stamp_text(incident.until),
        "onset_interval": _bounds(incident.onset),
        "end_interval": _bounds(incident.end),
        "verdict": verdict,
    }


def remembered(bodies: Sequence[Mapping[str, Any]], *, now: datetime) -> Stories:
    """Stories as they were before a restart, from the newest body of each incident."""
    worded = {body["incident_id"]: body["verdict"] for body in bodies if body["verdict"]}
    return forget(Stories(tuple(_restored(body) for body in bodies), worded), now=now)


def _restored(body: Mapping[str, Any]) -> Incident:
    """The incident with the windows that bear it out by now: its last revision knew fewer.

    Windows older than a day are not read again; what the revision said stands for them.
    """
    incident = incident_from_json(body)
    found = [part_of(verdict_from_json(one)) for one in body.get("support", ())]
    if not (found and incident.parts):
        return incident
    older = incident.parts if incident.began < min(part.began for part in found) else ()
    following = supported(incident, (*older, *found))
    return replace(following, end=incident.end or following.end)


def row_of(incident: Incident, body: Mapping[str, Any], *, recorded_at: datetime) -> dict[str, Any]:
    """One row of the table `incidents`; stamps are UTC without a zone, as the store keeps them."""
    onset, end = incident.onset, incident.end
    return {
        "incident_id": incident.incident_id,
        "revision": incident.revision,
        "service": incident.service,
        "component": incident.component,
        "level": incident.level.value,
        "class": incident.verdict_class.value,
        "state": incident.state,
        "onset_from": None if onset is None else _naive(onset.low),
        "onset_to": None if onset is None else _naive(onset.high),
        "end_from": None if end is None else _naive(end.low),
        "end_to": None if end is None else _naive(end.high),
        "probability": incident.probability,
        "sentence": incident.sentence,
        "recorded_at": _naive(recorded_at),
        "body": json.dumps(body),
    }


def _bounds(interval: Interval | None) -> list[str] | None:
    return None if interval is None else [stamp_text(interval.low), stamp_text(interval.high)]


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)
