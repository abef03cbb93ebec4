"""Clocks of probes: what is told, and what is believed."""

from __future__ import annotations

import pytest

from coordinator.core.clock import (
    SINCE_MAX_US,
    clock_notice,
    followed_since_us,
    is_believable,
    spell_span,
)

MINUTE_US = 60_000_000


def test_a_clock_ten_minutes_off_is_told_so() -> None:
    """The sentence says by how much, in which direction, what follows and what to do."""
    notice = clock_notice(sent_at_us=10 * MINUTE_US, received_at_us=0)
    assert notice == (
        "this probe's clock is 10.0 minutes ahead of the coordinator's; rows are marked "
        "clock_suspect until it is right: run a time service (systemd-timesyncd, chrony)"
    )
    assert "10.0 minutes behind" in (
        clock_notice(sent_at_us=0, received_at_us=10 * MINUTE_US) or ""
    )


def test_a_healthy_delay_is_no_clock_error() -> None:
    """Five seconds either way may be the network."""
    assert clock_notice(sent_at_us=5_000_000, received_at_us=0) is None
    assert clock_notice(sent_at_us=0, received_at_us=5_000_000) is None


@pytest.mark.parametrize(
    ("span_us", "words"),
    [
        (6_500_000, "6.5 seconds"),
        (119_000_000, "119.0 seconds"),
        (3 * MINUTE_US, "3.0 minutes"),
        (150 * MINUTE_US, "2.5 hours"),
        (72 * 60 * MINUTE_US, "3.0 days"),
    ],
)
def test_a_span_is_spelled_in_a_readable_unit(span_us: int, words: str) -> None:
    """Nobody reads 259200 seconds."""
    assert spell_span(span_us) == words


@pytest.mark.parametrize(
    ("offset_us", "error_us", "believed"),
    [
        (600_000_000, 1000, True),
        (-600_000_000, 0, True),
        (1 << 60, 0, False),
        (0, -1, False),
        (0, 1 << 60, False),
    ],
)
def test_figures_that_no_clock_has_are_not_stored(
    offset_us: int, error_us: int, believed: bool
) -> None:
    """A hostile estimate does not reach the table."""
    assert is_believable(offset_us=offset_us, error_us=error_us) == believed


@pytest.mark.parametrize(
    ("since_us", "expected_us"),
    [
        (None, SINCE_MAX_US),
        (SINCE_MAX_US - 15_000_000, SINCE_MAX_US - 15_000_000),
        (0, 0),
        (-1, SINCE_MAX_US),
        (2 * SINCE_MAX_US + 1, SINCE_MAX_US),
    ],
)
def test_a_plan_holds_from_the_slot_the_probe_names(since_us: int | None, expected_us: int) -> None:
    """Its slots are by its clock; a claim more than a week off would make up slots and is not taken."""
    assert followed_since_us(since_us, seen_at_us=SINCE_MAX_US) == expected_us
