"""Clocks of probes: what is believed of an offset, and when its operator must hear of it.

A probe estimates its own offset from four timestamps on its session (RFC 5905 section 8) and
reports the best of its last samples with the bound |error| <= delay / 2. The coordinator stores
what it is told and corrects nothing: a row's times stay those of the probe's clock, with the offset
beside them. A gross error shows in the first message already, long before samples are in.
"""

from __future__ import annotations

from typing import Final

GROSS_US: Final = 5_000_000
"""A Hello older or newer than this is no delay of a healthy path: someone's clock is wrong."""

OFFSET_US_MAX: Final = 10 * 365 * 24 * 3600 * 1_000_000
"""No clock that passed a certificate's dates is off by ten years: such a figure is noise."""

SINCE_MAX_US: Final = 7 * 24 * 3600 * 1_000_000
"""A probe tells of its new plan within a session or at the next one; a claim further off than this
would only make up slots."""


def clock_notice(*, sent_at_us: int, received_at_us: int) -> str | None:
    """A sentence for the probe's operator when its clock is grossly off; None when it is not."""
    ahead_us = sent_at_us - received_at_us
    if abs(ahead_us) <= GROSS_US:
        return None
    way = "ahead of" if ahead_us > 0 else "behind"
    return (
        f"this probe's clock is {spell_span(abs(ahead_us))} {way} the coordinator's; rows are "
        f"marked clock_suspect until it is right: run a time service (systemd-timesyncd, chrony)"
    )


def spell_span(span_us: int) -> str:
    """A span of time in the largest unit that keeps it readable."""
    seconds = span_us / 1_000_000
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def followed_since_us(since_us: int | None, *, seen_at_us: int) -> int:
    """From which instant a probe follows the plan that it names: by its own clock, as its slots are.

    `since_us` is its claim, `seen_at_us` when it came by ours, which holds where none was made or
    the claim cannot be.
    """
    if since_us is None or abs(since_us - seen_at_us) > SINCE_MAX_US:
        return seen_at_us
    return since_us


def is_believable(*, offset_us: int, error_us: int) -> bool:
    """Can these be an offset and its bound?"""
    return abs(offset_us) <= OFFSET_US_MAX and 0 <= error_us <= OFFSET_US_MAX
