from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.core.window import Settled, Window


def test_the_window_bounds_what_is_out() -> None:
    """Room shrinks with every report sent and comes back with its settlement."""
    window = Window(2, known={})
    window.sent((1, 1), rows=10)
    window.sent((1, 2), rows=20)
    assert window.room == 0
    assert window.acked((1, 2)) == Settled(rows=30)
    assert window.room == 2
    assert window.take_covered() == {1: 2}
    assert window.take_covered() == {}


def test_an_ack_of_what_was_never_sent_covers_nothing() -> None:
    """A confused coordinator cannot make the probe forget rows that it never gave away."""
    window = Window(8, known={})
    window.sent((1, 1), rows=10)
    assert window.acked((1, 99)) == Settled(rows=10)
    assert window.acked((2, 5)) == Settled()
    assert window.take_covered() == {1: 1}


def test_a_refused_report_waits_for_those_before_it() -> None:
    """What the spool may forget is always a prefix."""
    window = Window(8, known={})
    for seq in (1, 2, 3):
        window.sent((1, seq), rows=seq)
    assert window.rejected((1, 2)) == Settled(refused_rows=2)
    assert window.rejected((1, 2)) == Settled()
    assert window.take_covered() == {}
    assert window.room == 6
    assert window.acked((1, 1)) == Settled(rows=1)
    assert window.take_covered() == {1: 2}
    assert window.rejected((1, 3)) == Settled(refused_rows=3)
    assert window.take_covered() == {1: 3}


def test_a_refused_report_under_an_ack_is_not_counted_as_taken() -> None:
    """Rows are either taken or refused."""
    window = Window(8, known={})
    window.sent((1, 1), rows=5)
    window.sent((1, 2), rows=7)
    window.rejected((1, 2))
    assert window.acked((1, 2)) == Settled(rows=5)


def test_reports_that_the_coordinator_has_are_passed_by() -> None:
    """After a reconnect the high-water marks of the welcome are not sent again."""
    window = Window(8, known={1: 4})
    assert window.pass_by((1, 4))
    assert not window.pass_by((1, 5))
    assert not window.pass_by((2, 1))
    assert window.cursor == (2, 1)


@given(size=st.integers(0, 5), answers=st.lists(st.tuples(st.booleans(), st.integers(1, 12))))
def test_room_never_exceeds_the_window(size: int, answers: list[tuple[bool, int]]) -> None:
    """Whatever is acked or refused, no more than the window is out, and coverage only grows."""
    window, seq, covered = Window(size, known={}), 0, 0
    for ack, answered in answers:
        for _ in range(window.room):
            seq += 1
            window.sent((1, seq), rows=1)
        (window.acked if ack else window.rejected)((1, answered))
        assert 0 <= window.room <= max(1, size)
        reached = window.take_covered().get(1, covered)
        assert covered <= reached <= seq
        covered = reached
