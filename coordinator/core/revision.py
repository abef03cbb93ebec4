"""Identity and revisions of verdicts, and whom to judge at all.

A verdict is named by what it is about (scenario, service, component, window), so its name is the
same whoever computes it and however often. What changes is its revision: 1 for the first answer,
one more for each answer that rests on more rows. Nothing is ever written over.

Not every target is judged at every window. A detector says which ones look unusual; those, the
ones with an open incident and a fixed share of the quiet ones are adjudicated. The share is drawn
by a hash of the name of the verdict, so it is the same draw after a restart and on every
coordinator, and cannot be steered by what the rows say. Where there are few subjects, as in a
small fleet, all of them are judged: it costs little, and the page has a sentence for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

# One quiet target in a hundred is adjudicated, to know how often the quiet ones are misjudged.
QUIET_SHARE = 0.01

# With this many subjects or fewer every one is judged at every window: at some 25 ms each that is
# about a second per window, well below the shortest bin.
JUDGE_ALL_BELOW = 40


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verdict is about; component None = the whole service."""

    service: str
    component: str | None

    @property
    def title(self) -> str:
        """How it is written for people: `x/spaces`, or `x` for the whole service."""
        return self.service if self.component is None else f"{self.service}/{self.component}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The newest answer on record for one verdict."""

    number: int
    as_of_us: int
    level: str
    verdict_class: str


def verdict_id(subject: Subject, *, from_us: int, to_us: int, scenario: str | None = None) -> str:
    """A short stable name: `x.spaces.20260101T000000Z.1a2b3c4d`; the tail is a hash of all parts."""
    parts = "\x1f".join(
        ("" if scenario is None else "s" + scenario, subject.service)
        + (("",) if subject.component is None else ("c", subject.component))
        + (str(from_us), str(to_us))
    )
    tail = hashlib.sha256(parts.encode()).hexdigest()[:8]
    stamp = datetime.fromtimestamp(from_us / 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return ".".join((subject.service, subject.component or "all", stamp, tail))


def next_revision(known: Revision | None, *, as_of_us: int) -> int | None:
    """The number of a new answer; None when the one on record rests on as much (same `as_of`)."""
    if known is None:
        return 1
    return known.number + 1 if as_of_us > known.as_of_us else None


def changes_answer(known: Revision | None, *, level: str, verdict_class: str) -> bool:
    """Does a new answer say something else than the one on record? What people care about."""
    return known is not None and (known.level, known.verdict_class) != (level, verdict_class)


def is_sampled(name: str, *, share: float = QUIET_SHARE) -> bool:
    """Is this verdict in the fixed share of quiet ones? Uniform in its hash."""
    draw = int.from_bytes(hashlib.sha256(b"sample/" + name.encode()).digest()[:8], "big")
    return draw < share * 2.0**64


def chosen(
    subjects: Iterable[Subject],
    *,
    wanted: Collection[Subject],
    from_us: int,
    to_us: int,
    judge_all_below: int = JUDGE_ALL_BELOW,
) -> tuple[Subject, ...]:
    """Whom to adjudicate for one window, in a fixed order; `wanted` = alarmed or in an incident."""
    everyone = tuple(sorted(set(subjects), key=lambda s: (s.service, s.component or "")))
    if len(everyone) <= judge_all_below:
        return everyone
    return tuple(
        subject
        for subject in everyone
        if subject in wanted or is_sampled(verdict_id(subject, from_us=from_us, to_us=to_us))
    )
