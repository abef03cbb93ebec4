"""What the parts of a running coordinator share, and the shape of a part.

A part ("service") is an asynchronous context manager over the runtime: it binds its ports and
starts its loops on entry, yields the addresses it serves, and stops them on exit. They are entered
in order and left in reverse, so that a part may rely on those before it for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.core.verdict import Verdict
    from coordinator.configs import Configs
    from coordinator.core.registry import Probe
    from coordinator.networks import NetworkFiles
    from coordinator.presence import Presence
    from coordinator.refusals import Refusals
    from coordinator.rpc.authority import Authority
    from coordinator.rpc.porter import Porter
    from coordinator.store.registry import Registry
    from coordinator.store.writer import Store

WallClock = Callable[[], int]
"""Microseconds since 1970-01-01 UTC."""


async def _nothing_to_do(_: Probe) -> None:
    """Before the doors are open nobody has to hear of a change."""


@dataclass(slots=True, kw_only=True)
class Runtime:
    """Everything that is alive in one coordinator."""

    data_dir: Path
    wall: WallClock
    store: Store  # results, cells, verdicts: run_in_store() to write, cursor() to read
    registry: Registry  # tokens and probes
    authority: Authority  # the coordinator's own CA
    configs: Configs  # .config and .version in force
    presence: Presence  # who is connected and what it last said
    networks: NetworkFiles  # where addresses are
    refusals: Refusals  # whom the doors refused, counted
    porter: Porter | None = None  # looks after strangers, once the doors are open
    changed: Callable[[Probe], Awaitable[None]] = _nothing_to_do  # a probe's state was
    heard: Callable[[Sequence[Verdict]], None] = lambda _verdicts: None  # verdicts were written
    addresses: dict[str, str] = field(default_factory=dict)  # door -> HOST:PORT really bound


Service = Callable[[Runtime], AbstractAsyncContextManager[Mapping[str, str]]]
"""Entered with the runtime; yields the doors it opened, such as {"web": "127.0.0.1:8080"}."""
