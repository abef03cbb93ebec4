"""The operator's calls with no coordinator running: on the files of the data directory directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coordinator.core.registry import Vantage
from coordinator.datadir import hold
from coordinator.exits import CoordinatorError, Exit
from coordinator.operations import Operations
from coordinator.rotation import Rotation
from coordinator.rpc.admin import (
    facts_from_wire,
    facts_to_wire,
    state_from_wire,
    state_to_wire,
)
from coordinator.rpc.authority import as_datetime, open_authority
from coordinator.rpc.requests import AuthorityError
from coordinator.store.open import StoreOpenError
from coordinator.store.registry import Registry, RegistryError


class Offline:
    """Answers as `coordinator.rpc.operator.Operator` does."""

    def __init__(self, operations: Operations, rotation: Rotation) -> None:
        self._operations = operations
        self._rotation = rotation

    @staticmethod
    @contextmanager
    def open(data: Path, *, wall: Callable[[], int]) -> Iterator[Offline]:
        """Hold the data directory meanwhile, so that no coordinator starts under our hands.

        Raises CoordinatorError when its files cannot be used, or what was asked cannot be done.
        """
        with hold(data) as directory:
            try:
                authority = open_authority(directory.authority, now=as_datetime(wall()))
                registry = Registry(directory.registry, wall=wall)
            except (AuthorityError, StoreOpenError, OSError) as error:
                raise CoordinatorError(str(error), code=Exit.DATA_UNUSABLE) from error
            try:
                yield Offline(
                    Operations(registry, ca_key_sha256=lambda: authority.key_sha256),
                    Rotation(authority, registry, wall=wall),
                )
            except (RegistryError, AuthorityError) as error:
                raise CoordinatorError(str(error), code=Exit.USAGE) from error
            finally:
                registry.close()

    async def create_token(self, *, name: str, vantage: Vantage, ttl_s: int) -> dict[str, Any]:
        """A token as {token, name, expires_at_us}."""
        text, token = await self._operations.create_token(name=name, vantage=vantage, ttl_s=ttl_s)
        return {"token": text, "name": token.name, "expires_at_us": token.expires_at_us}

    async def list_probes(self) -> list[dict[str, Any]]:
        """Every probe as the command prints it; none of them is connected."""
        return [
            facts_from_wire(facts_to_wire(facts)) for facts in await self._operations.list_probes()
        ]

    async def revoke(self, probe_id: str, *, by: str = "") -> str:
        """What was done, in a sentence."""
        return await self._operations.revoke(probe_id, by=by)

    async def quarantine(self, probe_id: str, *, lift: bool, reason: str, by: str = "") -> str:
        """What was done, in a sentence."""
        return await self._operations.quarantine(probe_id, lift=lift, reason=reason, by=by)

    async def rotate_authority(self) -> dict[str, Any]:
        """How it stands then."""
        return state_from_wire(state_to_wire(await self._rotation.rotate()))

    async def retire_authority(self, *, force: bool) -> dict[str, Any]:
        """How it stands then."""
        return state_from_wire(state_to_wire(await self._rotation.retire(force=force)))

    async def show_authority(self) -> dict[str, Any]:
        """How a change of CA stands."""
        return state_from_wire(state_to_wire(self._rotation.standing()))
