"""What shares a commit, and what closes a group."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coordinator.core.intake import BatchName
from coordinator.store.commit import Arrival
from coordinator.store.groups import (
    GROUP_BYTES_MAX,
    GROUP_REPORTS_MAX,
    GROUP_ROWS_MAX,
    GROUP_WINDOW_S,
    Call,
    Group,
    Inbox,
    SessionEnd,
    Stop,
)


def arrival(*, rows: int = 1, body: bytes = b"") -> Arrival:
    """A report that nobody waits for."""
    return Arrival(
        name=BatchName("p1", 1, 1),
        session=1,
        rows=rows,
        body=body,
        received_at_us=0,
        reply=lambda _fate, _reason: None,
    )


def a_call() -> Call:
    """A call that nobody makes."""
    loop = asyncio.new_event_loop()
    try:
        return Call(lambda _con: None, loop, loop.create_future())
    finally:
        loop.close()


def test_ends_of_sessions_share_the_commit_of_what_came_between() -> None:
    """A thousand sessions that end at once cost one group, not a thousand."""
    inbox = Inbox(monotonic=lambda: 0.0)
    for session in range(1000):
        inbox.put(SessionEnd(session))
        inbox.put(arrival())
    stop = Stop()
    inbox.put(stop)
    group, after = inbox.collect(wait_s=None)
    assert (group.ended, len(group.arrivals), after) == (list(range(1000)), 1000, stop)


def test_a_call_closes_a_group_and_what_follows_it_is_in_the_next() -> None:
    """What was handed over before a call is committed before it, and nothing else is."""
    inbox = Inbox(monotonic=lambda: 0.0)
    call = a_call()
    for item in (arrival(), call, arrival(), Stop()):
        inbox.put(item)
    first, after = inbox.collect(wait_s=None)
    assert (len(first.arrivals), after) == (1, call)
    second, after = inbox.collect(wait_s=None)
    assert len(second.arrivals) == 1
    assert isinstance(after, Stop)


@pytest.mark.parametrize(
    ("one", "fits"),
    [
        (arrival(), GROUP_REPORTS_MAX),
        (arrival(rows=1000), GROUP_ROWS_MAX // 1000),
        (arrival(body=bytes(1 << 20)), GROUP_BYTES_MAX >> 20),
    ],
    ids=["reports", "rows", "bytes"],
)
def test_a_group_is_bounded_in_reports_rows_and_bytes(one: Arrival, fits: int) -> None:
    """A backlog is committed in pieces whatever it is made of, since a group is decoded at once."""
    inbox = Inbox(monotonic=lambda: 0.0)
    for _ in range(fits + 1):
        inbox.put(one)
    assert len(inbox.collect(wait_s=None)[0].arrivals) == fits


def test_the_window_closes_a_group_however_much_comes() -> None:
    """A stream without a gap is cut by the clock: an acknowledgement waits no longer than that."""
    times = iter(GROUP_WINDOW_S / 4 * n for n in range(100))
    inbox = Inbox(monotonic=lambda: next(times))
    for _ in range(50):
        inbox.put(arrival())
    assert len(inbox.collect(wait_s=None)[0].arrivals) == 4


def test_nothing_in_time_is_an_empty_group() -> None:
    """A writer in trouble looks again whether it is over, though nobody came."""
    assert Inbox(monotonic=lambda: 0.0).collect(wait_s=0.0) == (Group(), None)


def test_what_was_not_settled_can_be_answered_once() -> None:
    """A writer that ends finds what it had in hand, then what nobody collected, and no more of it."""
    inbox = Inbox(monotonic=lambda: 0.0)
    settled, in_hand, waiting = arrival(rows=1), arrival(rows=GROUP_ROWS_MAX), arrival(rows=3)
    inbox.put(settled)
    inbox.put(Stop())
    inbox.collect(wait_s=None)
    inbox.answered()
    inbox.put(in_hand)
    inbox.put(waiting)
    inbox.collect(wait_s=None)
    left: list[Any] = list(inbox.unanswered())
    assert left == [in_hand, waiting]
    assert list(inbox.left_over()) == []
