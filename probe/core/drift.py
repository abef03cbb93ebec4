"""How fast the wall clock runs away from the coordinator's.

Each exchange of timestamps puts the offset into an interval, `error_us` either way (`probe.core.clock`).
The slope of a straight line laid through the offsets by least squares is the drift; and since the
slope is a weighted sum of the offsets, the same weights bound how far it can be off: by
`max error * sum |t| / sum t^2`, t counted from the mean. Nothing is assumed of the path, whose two
directions may differ and change. Until that bound is small the drift is not known, and None.

Of each minute the exchange with the smallest error is kept: queueing only widens it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

BIN_US: Final = 60_000_000
"""One exchange of each minute is kept."""

BINS: Final = 120
"""Two hours: longer ago the temperature, and with it the quartz, was another."""

KNOWN_PPB: Final = 50_000
"""A drift with a wider bound than this is no news: a quartz at rest is within it."""

WILD_PPB: Final = 100_000
"""Beyond this, 8.6 s a day, a clock is disciplined by nobody, or its hardware is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How much the wall clock gains on the coordinator's, in parts per billion within `error_ppb`."""

    ppb: int
    error_ppb: int

    @property
    def wild(self) -> bool:
        """Whether it is certainly more than any sound clock does."""
        return abs(self.ppb) - self.error_ppb > WILD_PPB


@dataclass(frozen=True, slots=True)
class _Point:
    mono_us: int
    offset_us: int
    error_us: int


class DriftFilter:
    """The offsets of the last two hours, one a minute."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: deque[_Point] = deque(maxlen=BINS)

    def add(self, *, offset_us: int, error_us: int, mono_us: int) -> None:
        """An offset (coordinator minus probe) as found at `mono_us` by the monotonic clock."""
        point = _Point(mono_us, offset_us, error_us)
        if not self._points or mono_us // BIN_US != self._points[-1].mono_us // BIN_US:
            self._points.append(point)
        elif error_us < self._points[-1].error_us:
            self._points[-1] = point

    def clear(self) -> None:
        """Forget everything: across a step there is no line."""
        self._points.clear()

    def drift(self) -> Drift | None:
        """The slope so far; None until it is known well enough."""
        if len(self._points) < 2:
            return None
        mean_us = sum(point.mono_us for point in self._points) / len(self._points)
        weights = [point.mono_us - mean_us for point in self._points]
        square = sum(weight * weight for weight in weights)
        pairs = zip(weights, self._points, strict=True)
        slope = sum(weight * point.offset_us for weight, point in pairs) / square
        worst_us = max(point.error_us for point in self._points)
        bound = worst_us * sum(map(abs, weights)) / square
        # The offset falls as this clock gains. One more for the rounding.
        drift = Drift(ppb=-round(slope * 1e9), error_ppb=round(bound * 1e9) + 1)
        return drift if drift.error_ppb <= KNOWN_PPB else None
