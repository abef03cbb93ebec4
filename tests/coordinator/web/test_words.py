"""Words, lanes and metrics: values in, text and shapes out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.web import words
from coordinator.web.lanes import HEIGHT, Axis, strips
from coordinator.web.metrics import Metric, render, single

AXIS = Axis(from_us=0, to_us=90_000_000, step_us=1_000_000)


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "not given"), (1.0, "over 99 %"), (0.994, "99 %"), (0.5, "50 %"), (0.001, "under 1 %")],
)
def test_a_probability_is_never_certainty(share: float | None, text: str) -> None:
    """Rounding claims neither nought nor a hundred percent."""
    assert words.percent(share) == text


def test_times_read_like_times() -> None:
    """Spans in their largest unit; intervals without a repeated day; dashes for nothing."""
    assert words.ago(None, 5) == "never"
    assert words.ago(0, 59_000_000) == "59 s ago"
    assert words.ago(0, 7_200_000_000) == "2 h ago"
    assert words.ago(5, 0) == "0 s ago"
    assert words.stamp(None) == "–"
    assert words.stamp("2026-01-01T01:00:00.5+01:00") == "2026-01-01 00:00:00.5"
    day = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z"]
    assert words.interval(day) == "between 2026-01-01 00:00:00 and 00:00:10"
    assert words.interval([day[0], day[0]]) == "2026-01-01 00:00:00"
    assert words.interval(None) == "not known"
    assert words.span([day[0], "2026-01-02T00:00:00Z"]).endswith("to 2026-01-02 00:00:00")


@given(st.integers(0, 4_000_000_000_000_000))
@settings(deadline=None)
def test_stamps_come_back_exactly(at_us: int) -> None:
    """Text and microseconds are each other's inverse."""
    assert words.parse_stamp(words.stamp_us(at_us)) == at_us


def test_what_a_probe_is_called() -> None:
    """The operator's word first, then whether it is there; clocks with their bound."""
    assert words.probe_state("revoked", "connect") == "revoked"
    assert words.probe_state("enrolled", "connect") == "connected"
    assert words.probe_state("enrolled", None) == "never came"
    assert words.offset_text(None, None) == "not known"
    assert words.offset_text(2.4, 11.6) == "+2 ± 12 ms"
    assert words.offset_text(-2.4, None) == "-2 ms"
    assert words.level_text("brand new") == "brand new"
    assert words.level_mark("brand new") == "?"


@pytest.mark.parametrize(
    ("groups", "part"),
    [
        (None, "not certified"),
        (0, "no vantage group"),
        (1, "one vantage group is"),
        (3, "3 vantage groups are"),
    ],
)
def test_certainty_is_said_in_groups(groups: int | None, part: str) -> None:
    """How many may lie is said in words."""
    assert part in words.certainty(groups)


def _row(step: int, sent: int, lost: int, **others: object) -> dict[str, object]:
    base = {"service": "x", "component": "web", "role": "subject", "kind": "tcp", "rtt_ms": None}
    return {**base, "at_us": step * 1_000_000, "sent": sent, "lost": lost, "vantages": 2, **others}


STEPS = st.dictionaries(
    st.integers(0, 89),
    st.integers(1, 50).flatmap(lambda sent: st.tuples(st.just(sent), st.integers(0, sent))),
    min_size=1,
    max_size=40,
)


@given(STEPS)
@settings(deadline=None)
def test_lanes_cover_what_was_reported_and_nothing_else(steps: dict[int, tuple[int, int]]) -> None:
    """Good ground lies under every reported step once; losses stand where rows were lost."""
    rows = [_row(step, sent, lost) for step, (sent, lost) in sorted(steps.items())]
    marks = strips(rows, AXIS)[0].lanes[0].marks
    ground = [n for m in marks if m.meaning == "good" for n in range(m.x, m.x + m.width)]
    assert ground == sorted(steps)
    lost = {m.x: m for m in marks if m.meaning == "lost"}
    assert set(lost) == {step for step, (_, missing) in steps.items() if missing}
    for mark in lost.values():
        assert 0 < mark.height <= HEIGHT
        assert mark.y + mark.height == pytest.approx(HEIGHT)


def test_lanes_follow_the_layers() -> None:
    """A component's kinds stand from the name to the answer; its role is the one that rows say."""
    rows = [
        _row(0, 1, 0, kind="http", role=None),
        _row(0, 1, 0, kind="icmp", role=None),
        _row(1, 2, 1, kind="dns"),
    ]
    strip = strips(rows, AXIS)[0]
    assert [lane.kind for lane in strip.lanes] == ["dns", "icmp", "http"]
    assert strip.role == "subject"
    assert strip.lanes[0].summary == "1 of 2 attempts lost"
    assert "00:00:01 UTC: 1 of 2 attempts lost, 2 vantage points" in strip.lanes[0].marks[0].title


def test_metrics_are_escaped() -> None:
    """Label values cannot break out of their line; fractions stay fractions."""
    odd = Metric(name="a_total", meaning="A.", type="counter", samples={(("reason", 'x"\n\\'),): 2})
    text = render([odd, single("b", "B.", 0.25)])
    assert text == (
        "# HELP a_total A.\n# TYPE a_total counter\n"
        'a_total{reason="x\\"\\n\\\\"} 2\n# HELP b B.\n# TYPE b gauge\nb 0.25\n'
    )


def test_what_a_probe_gave_up_is_said_beside_its_lateness() -> None:
    """Nothing said is a dash; nothing given up is not mentioned."""
    assert words.load_text(None, None, None) == "–"
    assert words.load_text(1.25, 0, 0) == "1.2 ms late (p99)"
    assert words.load_text(None, 3, 2) == "lateness not known, 3 slots given up, 2 replies dropped"
    assert words.load_text(None, None, 2) == (
        "lateness not known, slots given up not known, 2 replies dropped"
    )


def test_what_waits_at_a_probe_is_no_zero_where_it_does_not_say() -> None:
    """Rows that wait and rows that were lost are each known or not."""
    said = [words.spool_text(*one) for one in ((None, None), (7, 0), (7, None), (None, 2))]
    assert said == ["–", "7 rows", "7 rows, lost not known", "not known"]


def test_what_a_probe_takes_of_its_host() -> None:
    """Memory and processor, each where it was said."""
    assert words.use_text(50 << 20, 1.0, 200.0).replace(words.NBSP, " ") == "50 MiB, 0.5 % CPU"
    assert words.use_text(None, None, None) == "–"
    assert words.use_text(50 << 20, 1.0, 0.0) == f"50{words.NBSP}MiB"
