"""When to ask for more than the schedule gives, and how seldom.

A verdict between two classes, or one for want of voices, may be settled by who does not measure yet and
by the ways there. Asking is cheap for us and not for a target in trouble, so it takes a doubt that lasts,
each round is followed by a pause, rounds and all asking together are bounded, and a doubt must have been
gone for a while before it counts as a new one. What comes of it is marked and never evidence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

SECOND_US: Final = 1_000_000

WINDOWS_MIN: Final = 2
"""Windows in a row that must be in doubt: one alone is often settled by the next."""

CALM_MIN: Final = 3
"""Windows in a row without doubt after which a new doubt is another: it may ask anew."""

ROUNDS_MAX: Final = 3
"""Rounds of one doubt: what three did not settle, a fourth will not."""

PAUSE_US: Final = 600 * SECOND_US
"""Between two rounds about one component: traces and late rows take minutes to be judged."""

HOUR_US: Final = 3600 * SECOND_US
ROUNDS_PER_HOUR_MAX: Final = 30
"""Rounds an hour, about all components together: a doubtful world is not to become a flood."""

FAULT_SURE: Final = 0.9
HEALTHY_SURE: Final = 0.6
"""Between these and certainty a verdict settles nothing; health has nine tenths of all prior weight."""

THIN: Final = "thin"
BETWEEN: Final = "between"
"""Why to ask: too few voices spoke; the voices fit several classes."""

_THIN_REASONS: Final = frozenset({"few_groups", "missing_data"})
_SPLIT_REASONS: Final = frozenset({"ambiguous_pair", "not_certified"})
_PARENTS: Final = frozenset({"source", "path", "target", "target_net", "application"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a verdict said of a component over a window that ended at `to_us`."""

    service: str
    component: str
    to_us: int
    verdict_class: str
    probability: float | None
    reasons: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask about a component, for the reason `why` (a word)."""

    service: str
    component: str
    why: str
    to_us: int
    round: int


@dataclass(slots=True)
class _Doubt:
    """How it stands with one component."""

    to_us: int = 0  # end of the newest window that was heard of
    doubtful: int = 0  # windows in a row
    calm: int = 0
    rounds: int = 0
    asked_us: int | None = None


def why_doubtful(said: Said) -> str | None:
    """A word for why the verdict settles nothing; None = it settles it, or asking cannot help."""
    reasons = frozenset(said.reasons)
    if said.verdict_class == "insufficient":
        if reasons & _THIN_REASONS:
            return THIN
        return BETWEEN if reasons & _SPLIT_REASONS else None
    sure = HEALTHY_SURE if said.verdict_class == "healthy" else FAULT_SURE
    unsure = said.probability is not None and said.probability < sure
    return BETWEEN if said.verdict_class in _PARENTS or unsure else None


class Doubts:
    """What was in doubt of late, and what was asked. Times are microseconds of one clock."""

    def __init__(self) -> None:
        self._by_component: dict[tuple[str, str], _Doubt] = {}
        self._rounds: deque[int] = deque()

    def hear(self, verdicts: Iterable[Said], *, now_us: int) -> tuple[Ask, ...]:
        """Take verdicts in; gives what to ask now. A window that was heard of before says nothing new."""
        asks = []
        for said in verdicts:
            doubt = self._by_component.setdefault((said.service, said.component), _Doubt())
            if said.to_us <= doubt.to_us:
                continue
            doubt.to_us = said.to_us
            why = why_doubtful(said)
            self._count(doubt, is_doubtful=why is not None)
            if why is not None and self._may(doubt, now_us):
                doubt.rounds += 1
                doubt.asked_us = now_us
                self._rounds.append(now_us)
                asks.append(
                    Ask(
                        service=said.service,
                        component=said.component,
                        why=why,
                        to_us=said.to_us,
                        round=doubt.rounds,
                    )
                )
        return tuple(asks)

    def _count(self, doubt: _Doubt, *, is_doubtful: bool) -> None:
        if is_doubtful:
            doubt.doubtful, doubt.calm = doubt.doubtful + 1, 0
        else:
            doubt.doubtful, doubt.calm = 0, doubt.calm + 1
            if doubt.calm >= CALM_MIN:
                doubt.rounds = 0

    def _may(self, doubt: _Doubt, now_us: int) -> bool:
        while self._rounds and now_us - self._rounds[0] >= HOUR_US:
            self._rounds.popleft()
        rested = doubt.asked_us is None or now_us - doubt.asked_us >= PAUSE_US
        return (
            doubt.doubtful >= WINDOWS_MIN
            and doubt.rounds < ROUNDS_MAX
            and rested
            and len(self._rounds) < ROUNDS_PER_HOUR_MAX
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A connected vantage point: whether the component works from it (None = it does not measure it)."""

    probe_id: str
    asn: int | None
    is_good: bool | None


def extra_voices(voices: Iterable[Voice], *, count: int) -> tuple[str, ...]:
    """Who is to measure besides: those who do not yet, of networks that have no voice first.

    `voices` come in the order in which places are given.
    """
    voices = tuple(voices)
    heard = {voice.asn for voice in voices if voice.is_good is not None}
    spare = [voice for voice in voices if voice.is_good is None]
    chosen: list[Voice] = []
    for fresh in (True, False):
        for voice in spare:
            is_fresh = voice.asn is not None and voice.asn not in heard
            if len(chosen) < count and voice not in chosen and is_fresh == fresh:
                chosen.append(voice)
                heard.add(voice.asn)
    return tuple(voice.probe_id for voice in chosen)


def tracing_voices(voices: Iterable[Voice], *, each: int) -> tuple[str, ...]:
    """Who is to trace: so many from where it fails and so many from where it works, of other networks.

    Nobody where it fails from nowhere: there is nothing to compare.
    """
    voices = tuple(voices)
    if not any(voice.is_good is False for voice in voices):
        return ()
    chosen: list[str] = []
    for good in (False, True):
        networks: set[int | None] = set()
        for voice in voices:
            if voice.is_good is good and voice.asn not in networks and len(networks) < each:
                networks.add(voice.asn)
                chosen.append(voice.probe_id)
    return tuple(chosen)
