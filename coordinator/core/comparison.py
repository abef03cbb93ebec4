"""Which working vantage traces beside a failing one, and how seldom.

A trace from where a target fails says little alone: routers hide, and ways differ. The same trace from
where it works shows what is ordinary. Asking costs the target packets while it may be in trouble, so
one comparison per check and PAUSE_US is enough, and all of them together are bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PAUSE_US: Final = 600 * 1_000_000
"""Between two comparisons of one check."""

MINUTE_US: Final = 60 * 1_000_000
PER_MINUTE_MAX: Final = 6
"""Comparisons a minute, of all checks together: a fleet-wide failure is not to become a flood."""


PER_PROBE_MAX: Final = 2
"""Of them, because of one probe: whoever invents failures takes nothing from the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A connected vantage that has the check in its plan. `is_good` is of its last rows."""

    probe_id: str
    asn: int | None
    is_good: bool


class Ration:
    """What was asked of late. Times are microseconds of one clock."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[int, str]] = {}  # by check: when, and for which probe

    def may(self, check_no: int, *, probe_id: str, now_us: int) -> bool:
        """May this check be compared now because of what this probe says?"""
        self._asked = {no: one for no, one in self._asked.items() if now_us - one[0] < PAUSE_US}
        lately = [who for at_us, who in self._asked.values() if now_us - at_us < MINUTE_US]
        if check_no in self._asked or len(lately) >= PER_MINUTE_MAX:
            return False
        return lately.count(probe_id) < PER_PROBE_MAX

    def spend(self, check_no: int, *, probe_id: str, now_us: int) -> None:
        """A vantage is asked."""
        self._asked[check_no] = (now_us, probe_id)


def choose(standings: Iterable[Standing], *, failing_asn: int | None, turn: float) -> str | None:
    """A working vantage of another AS; None: there is none. `turn`, from [0, 1), picks among many.

    An AS that nobody declared is not known to be another one.
    """
    fit = sorted(
        one.probe_id
        for one in standings
        if one.is_good and None not in {one.asn, failing_asn} and one.asn != failing_asn
    )
    return fit[int(turn * len(fit))] if fit else None


def spread(standings: Iterable[Standing]) -> list[str]:
    """All vantages, so ordered that the first few sit in as many networks as can be."""
    seen: Counter[int | None] = Counter()
    ranked = []
    for one in sorted(standings, key=lambda standing: standing.probe_id):
        ranked.append((seen[one.asn], one.probe_id))
        seen[one.asn] += 1
    return [probe_id for _, probe_id in sorted(ranked)]
