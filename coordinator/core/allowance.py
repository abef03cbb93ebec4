"""How often somebody may ask, somebody being a probe, or an address that nobody knows yet.

One bucket for each: it holds `burst` and fills by `per_s`. What is kept is bounded, too: of more than
`ASKERS_MAX` whoever asked longest ago is forgotten, and so begins with a full bucket. An attacker with
so many addresses is nothing that a program can count away; docs/security.md has the firewall's part.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

ASKERS_MAX: Final = 10_000
"""About a megabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many at once, and so many a second for good."""

    burst: int
    per_s: float


class Allowance:
    """The buckets of one kind of asking. Times are microseconds of one clock, which may step."""

    def __init__(self, rate: Rate, *, askers_max: int = ASKERS_MAX) -> None:
        self._rate = rate
        self._askers_max = askers_max
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def may(self, who: str, *, now_us: int) -> bool:
        """Is there one left for this asker? It is taken if there is."""
        left = self._filled(who, now_us)
        if left < 1:
            return False
        self._left[who] = (left - 1, now_us)
        self._left.move_to_end(who)
        if len(self._left) > self._askers_max:
            self._left.popitem(last=False)
        return True

    def is_spent(self, who: str, *, now_us: int) -> bool:
        """Would `may` say no? Nothing is taken."""
        return self._filled(who, now_us) < 1

    def _filled(self, who: str, now_us: int) -> float:
        left, at_us = self._left.get(who, (float(self._rate.burst), now_us))
        grown = max(0, now_us - at_us) * self._rate.per_s / 1_000_000
        return min(float(self._rate.burst), left + grown)
