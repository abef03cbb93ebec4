"""What an operator can do to the fleet: the same on a running coordinator and on its files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from coordinator.core.accepting import as_number, country
from coordinator.core.accepting import name as accept_name
from coordinator.core.accepting import text as accept_text
from coordinator.core.reading import Accept, UnfitError
from coordinator.core.registry import Probe, ProbeState, Seen, Vantage
from coordinator.core.tokens import TTL_S_DEFAULT, TTL_S_MAX, Token
from coordinator.store.registry import Registry, RegistryError
from proto.model import HostLimits


@dataclass(frozen=True, slots=True)
class ProbeFacts:
    """A probe with what it last said; None = it has not come since the coordinator started."""

    probe: Probe
    seen: Seen | None
    refused: tuple[str, ...] = ()  # what of its plan its host's limits refuse, a sentence each

    @property
    def state(self) -> str:
        """`connected` where it is and nothing worse is known, else what the operator decided."""
        if self.probe.state is ProbeState.ENROLLED and self.seen and self.seen.connected:
            return "connected"
        return self.probe.state.value


async def _nothing_to_do(_: Probe) -> None:
    """With the coordinator stopped nobody has to hear of a change."""


class Operations:
    """`changed` is awaited with every probe whose state changed; `refused` says what of a probe's plan
    the limits of its host refuse.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        ca_key_sha256: Callable[[], bytes],
        seen: Callable[[], Mapping[str, Seen]] = dict,
        changed: Callable[[Probe], Awaitable[None]] = _nothing_to_do,
        refused: Callable[[Probe, HostLimits], tuple[str, ...]] = lambda _probe, _limits: (),
    ) -> None:
        self._registry = registry
        self._ca_key_sha256 = ca_key_sha256
        self._seen = seen
        self._changed = changed
        self._refused = refused

    async def create_token(self, *, name: str, vantage: Vantage, ttl_s: int) -> tuple[str, Token]:
        """A token and its text. Raises RegistryError when a fact of the vantage cannot be."""
        _check_vantage(name, vantage)
        ttl_s = ttl_s or TTL_S_DEFAULT
        if ttl_s > TTL_S_MAX:
            raise RegistryError(f"--ttl is {ttl_s} s; at most {TTL_S_MAX // 86_400} days")
        return await asyncio.to_thread(
            self._registry.create_token,
            name=name,
            vantage=vantage,
            ttl_s=ttl_s,
            ca_key_sha256=self._ca_key_sha256(),
        )

    async def list_probes(self) -> list[ProbeFacts]:
        """Every probe, oldest first."""
        return [self._facts(probe) for probe in self._registry.probes()]

    def _facts(self, probe: Probe) -> ProbeFacts:
        seen = self._seen().get(probe.probe_id)
        if seen is None or seen.limits is None or probe.state is ProbeState.REVOKED:
            return ProbeFacts(probe, seen)
        return ProbeFacts(probe, seen, self._refused(probe, seen.limits))

    async def revoke(self, probe_id: str, *, by: str = "") -> str:
        """Refuse a probe for ever. Raises RegistryError when there is no such probe."""
        probe = await self._set(probe_id, ProbeState.REVOKED, reason="revoked", by=by)
        return f"{probe.name} ({probe.probe_id}) is revoked; its rows stay"

    async def quarantine(self, probe_id: str, *, lift: bool, reason: str, by: str = "") -> str:
        """Let a probe weigh nothing, or trust it again. Raises RegistryError when it cannot be."""
        _check("--reason", reason, accept_text)
        if not reason.strip():
            raise RegistryError("--reason is missing; say why, for who reads it next year")
        state = ProbeState.ENROLLED if lift else ProbeState.QUARANTINED
        probe = await self._set(probe_id, state, reason=reason, by=by)
        return f"{probe.name} ({probe.probe_id}) is {probe.state.value}"

    async def _set(self, probe_id: str, state: ProbeState, *, reason: str, by: str) -> Probe:
        probe = await asyncio.to_thread(
            self._registry.set_state, probe_id, state, reason=reason, by=by or "operator"
        )
        await self._changed(probe)
        return probe


def _check_vantage(name: str, vantage: Vantage) -> None:
    """Raises RegistryError naming the option, its value and the fix."""
    if name:
        _check("--name", name, accept_name)
    for option, value, accept in (
        ("--country", vantage.country, country),
        ("--asn", vantage.asn, as_number),
        ("--provider", vantage.provider, accept_name),
    ):
        if value is not None:
            _check(option, value, accept)
    for key, value in vantage.labels.items():
        _check("--label", key, accept_name)
        _check("--label", value, accept_name)


def _check(option: str, value: object, accept: Accept) -> None:
    try:
        accept(value)
    except UnfitError as error:
        raise RegistryError(f"{option} is {value!r}; {error}") from error
