"""Asking for more takes a doubt that lasts, and is bounded however the world behaves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.doubt import (
    CALM_MIN,
    HOUR_US,
    PAUSE_US,
    ROUNDS_MAX,
    ROUNDS_PER_HOUR_MAX,
    Doubts,
    Said,
    Voice,
    extra_voices,
    tracing_voices,
    why_doubtful,
)

MINUTE_US = 60_000_000
THIN = Said(
    service="x", component="web", to_us=MINUTE_US, verdict_class="insufficient",
    probability=None, reasons=("few_groups",),
)  # fmt: skip
SURE = replace(THIN, verdict_class="healthy", probability=0.99, reasons=())


@pytest.mark.parametrize(
    ("verdict_class", "probability", "reasons", "why"),
    [
        ("insufficient", None, ("few_groups",), "thin"),
        ("insufficient", None, ("missing_data", "ambiguous_pair"), "thin"),
        ("insufficient", None, ("ambiguous_pair",), "between"),
        ("insufficient", None, ("component_not_probed",), None),
        ("application", 0.95, (), "between"),
        ("overload", 0.85, (), "between"),
        ("overload", 0.95, (), None),
        ("healthy", 0.55, (), "between"),
        ("healthy", 0.7, (), None),
        ("healthy", None, (), None),
    ],
)
def test_what_is_a_doubt(
    verdict_class: str, probability: float | None, reasons: tuple[str, ...], why: str | None
) -> None:
    """Too few voices, a parent class, a probability between; never what asking cannot help."""
    said = replace(THIN, verdict_class=verdict_class, probability=probability, reasons=reasons)
    assert why_doubtful(said) == why


def minutes(doubts: Doubts, words: str, *, start: int = 0, component: str = "web") -> list[int]:
    """Hear a verdict a minute (d = in doubt, s = sure); gives the minutes in which it asked."""
    asked = []
    for minute, word in enumerate(words, start=start + 1):
        said = replace(THIN if word == "d" else SURE, to_us=minute * MINUTE_US, component=component)
        asked += [minute] * len(doubts.hear([said], now_us=minute * MINUTE_US))
    return asked


def test_one_doubtful_window_asks_for_nothing() -> None:
    """A doubt that the next window settles costs nobody anything."""
    assert minutes(Doubts(), "dsdsds") == []


def test_a_lasting_doubt_asks_in_rounds_with_pauses_and_then_stops() -> None:
    """Three rounds, ten minutes apart; what they did not settle, a fourth will not."""
    assert minutes(Doubts(), "d" * 120) == [2, 12, 22]


def test_a_flapping_doubt_is_one_doubt() -> None:
    """A sure window in between gives no new rounds; only a calm of some windows does."""
    assert minutes(Doubts(), ("d" * 11 + "s") * 10) == [2, 14, 26]
    assert minutes(Doubts(), "d" * 40 + "s" * CALM_MIN + "d" * 5) == [2, 12, 22, 45]


def test_a_window_that_is_judged_again_is_no_new_doubt() -> None:
    """Revisions of one window, and windows of the past, count once."""
    doubts = Doubts()
    assert [doubts.hear([THIN], now_us=n) for n in range(5)] == [()] * 5
    assert doubts.hear([replace(THIN, to_us=1)], now_us=6) == ()


def test_all_components_together_have_an_hourly_budget() -> None:
    """However many components are in doubt, rounds an hour are bounded, and the next hour has its own."""
    doubts = Doubts()
    count = 0
    for minute in (1, 2, 62, 63):
        said = [replace(THIN, component=f"c{n}", to_us=minute * MINUTE_US) for n in range(100)]
        count += len(doubts.hear(said, now_us=minute * MINUTE_US))
        assert count <= ROUNDS_PER_HOUR_MAX * (1 + (minute > 60))
    assert count == 2 * ROUNDS_PER_HOUR_MAX


@settings(deadline=None)
@given(st.text(alphabet="ds", max_size=200))
def test_whatever_is_said_the_bounds_hold(words: str) -> None:
    """Rounds about a component keep their pause, and never pass their number without a calm."""
    asked = minutes(Doubts(), words)
    assert all((b - a) * MINUTE_US >= PAUSE_US for a, b in pairwise(asked))
    for rounds, minute in enumerate(asked, start=1):
        assert rounds <= ROUNDS_MAX or "s" * CALM_MIN in words[: minute - 1]
    assert all(words[minute - 2 : minute] == "dd" for minute in asked)
    assert HOUR_US > PAUSE_US


def voice(name: str, asn: int | None, is_good: bool | None) -> Voice:
    """A connected vantage point."""
    return Voice(probe_id=name, asn=asn, is_good=is_good)


def test_new_networks_are_asked_first() -> None:
    """Another voice of a network that spoke already adds little; one of an unknown network least."""
    voices = [
        voice("a", 1, is_good=True), voice("b", 1, is_good=None), voice("c", None, is_good=None),
        voice("d", 2, is_good=None), voice("e", 2, is_good=None), voice("f", 3, is_good=None),
    ]  # fmt: skip
    assert extra_voices(voices, count=2) == ("d", "f")
    assert extra_voices(voices, count=9) == ("d", "f", "b", "c", "e")
    assert extra_voices(voices[:1], count=3) == ()


def test_traces_come_from_both_sides_and_several_networks() -> None:
    """What is ordinary shows only beside what fails; who does not measure it has no trace of it."""
    voices = [
        voice("a", 1, is_good=True), voice("b", 1, is_good=True), voice("c", 2, is_good=True),
        voice("d", 3, is_good=True), voice("e", 4, is_good=False), voice("f", 5, is_good=None),
    ]  # fmt: skip
    assert tracing_voices(voices, each=2) == ("e", "a", "c")
    assert tracing_voices(voices[:4], each=2) == ()
