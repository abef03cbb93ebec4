"""A change of the coordinator's CA, from the new key to the end of the old one.

Nobody is cut off by it: see coordinator.rpc.authority. The old CA is ended when nothing of it is in use,
by itself, or by an operator who knows better: at once where its key got into wrong hands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from coordinator.core.registry import Probe
from coordinator.rpc.authority import PROBE_LIFE, RECOVERY_LIFE, Authority, as_datetime, ca_us
from coordinator.rpc.requests import AuthorityError
from coordinator.store.registry import Registry

LOOK_S: Final = 60.0
"""How often it is looked whether the old CA is still in use."""

NAMES_MAX: Final = 10
"""Probes that a refusal names."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a change of CA stands. `behind` and `open_tokens` need the old one."""

    key_sha256: bytes
    began_at_us: int
    previous_key_sha256: bytes | None
    behind: tuple[Probe, ...]
    open_tokens: int

    @property
    def needed_by(self) -> str:
        """Who needs the old CA; empty = nobody."""
        names = [probe.name for probe in self.behind]
        more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
        found = [", ".join(names[:NAMES_MAX]) + more] if names else []
        return " and ".join(
            [*found, *([f"{self.open_tokens} open tokens"] * bool(self.open_tokens))]
        )


def _nothing() -> None:
    """With the coordinator stopped no handshake waits for another certificate."""


def _nobody(_: str) -> None:
    """And nobody has a session."""


class Rotation:
    """`changed` is called when the doors need another certificate, `cut` with each probe whose
    certificate is good no more. `wall` gives microseconds since 1970 UTC.
    """

    def __init__(
        self,
        authority: Authority,
        registry: Registry,
        *,
        wall: Callable[[], int],
        changed: Callable[[], None] = _nothing,
        cut: Callable[[str], object] = _nobody,
    ) -> None:
        self._authority = authority
        self._registry = registry
        self._wall = wall
        self._changed = changed
        self._cut = cut
        self._log = structlog.get_logger("ca")

    def standing(self) -> Standing:
        """How it stands now."""
        authority, began_us = self._authority, ca_us(self._authority)
        previous = authority.previous
        return Standing(
            authority.key_sha256,
            began_us,
            None if previous is None else previous.key_sha256,
            () if previous is None else self._registry.behind(began_us),
            0 if previous is None else self._registry.open_tokens(before_us=began_us),
        )

    async def rotate(self) -> Standing:
        """Begin. Raises AuthorityError when a change is under way."""
        await asyncio.to_thread(self._authority.rotate, now=as_datetime(self._wall()))
        self._changed()
        self._log.info("ca_rotated", key_sha256=self._authority.key_sha256.hex())
        return self.standing()

    async def retire(self, *, force: bool) -> Standing:
        """End the old CA. Raises AuthorityError when there is none, or it is needed and not `force`."""
        before = self.standing()
        if before.previous_key_sha256 is None:
            raise AuthorityError("there is no old CA; `soundings coordinator ca rotate` begins")
        if before.needed_by and not force:
            raise AuthorityError(
                f"{before.needed_by} still need the old CA, which is retired by itself when nobody does; "
                "--force does it now, and they must be enrolled with new tokens"
            )
        await asyncio.to_thread(self._authority.retire)
        self._changed()
        for probe in before.behind:
            self._cut(probe.probe_id)
        old = before.previous_key_sha256.hex()
        self._log.info("ca_retired", key_sha256=old, needed_by=before.needed_by or None)
        return self.standing()

    async def watch(self) -> None:
        """Retire the old CA when nobody needs it, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Retire the old CA if nobody needs it, or nobody can: all that it signed has long expired."""
        if self._authority.previous is None:
            return
        forgotten = PROBE_LIFE + RECOVERY_LIFE
        over = as_datetime(self._wall()) - self._authority.began_at > forgotten
        if over or not self.standing().needed_by:
            await self.retire(force=True)
