"""What a probe may cost beside its reports, and where everybody who is refused is counted.

A certificate proves who a probe is, not that it means well: one with a stolen key may come back a
thousand times a second, send nothing but rubbish, or a heartbeat with every packet, and each of these
becomes a row or a line of log. So each is rationed, far above what a probe in trouble does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from coordinator.core.allowance import Allowance, Rate
from coordinator.refusals import Refusals
from coordinator.rpc.porter import Porter

CALLS: Final = Rate(burst=60, per_s=0.5)
"""Sessions and renewals of one probe: one that dies at every start comes back every two seconds."""

REJECTS: Final = Rate(burst=5000, per_s=2.0)
"""Refused reports of one probe. Each is a row in `rejects`: 20 MB a day at worst."""

NOTES: Final = Rate(burst=200, per_s=5.0)
"""Heartbeats and clock questions of one session; a probe sends one in 15 s, a few at the start."""

EPOCHS: Final = Rate(burst=1000, per_s=1 / 60)
"""New epochs of one probe: a spool may hold those of many starts, and each is remembered."""

PAUSE_S: Final = 1.0
"""Who comes too often is told so after this: a caller that does not wait is made to."""

RETRY_AFTER_MS: Final = 60_000
"""And is asked to stay away so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Shared by the doors of one coordinator; used on the event loop only."""

    refusals: Refusals
    porter: Porter
    wall: Callable[[], int]
    calls: Allowance = field(default_factory=lambda: Allowance(CALLS))
    rejects: Allowance = field(default_factory=lambda: Allowance(REJECTS))

    epochs: Allowance = field(default_factory=lambda: Allowance(EPOCHS))

    def may_call(self, probe_id: str) -> bool:
        """May this probe begin a session or renew? Taken from its ration if it may."""
        now_us = self.wall()
        return not self.rejects.is_spent(probe_id, now_us=now_us) and self.calls.may(
            probe_id, now_us=now_us
        )

    def may_be_rejected(self, probe_id: str) -> bool:
        """A report of this probe was refused; False = that was one too many."""
        return self.rejects.may(probe_id, now_us=self.wall())

    def may_begin_epoch(self, probe_id: str) -> bool:
        """A report of this probe is of an epoch that nobody has heard of; False = refuse it."""
        return self.epochs.may(probe_id, now_us=self.wall())
