"""What `soundings.toml` says, as frozen values. `coordinator.core.validation` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proto.model import Kind, Role

ANCHOR_SERVICE = "anchor"
"""Anchors are controls for every service; in rows they belong to a service of this name."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a door listens: an address literal or name, and a port (0 = any free one)."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Url:
    """A component's URL, taken apart. `port` is never missing."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The table `[coordinator]`."""

    name: str
    fleet: Address
    enrol: Address
    web: Address | None
    names: tuple[str, ...]
    contact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """The table `[judging]`: width of a bin and the watermarks after its end, in seconds."""

    bin_s: int
    provisional_s: int
    revised_s: int
    final_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One thing with a stable name that is measured, with its defaults filled in."""

    service: str
    name: str
    url: Url
    role: Role
    kinds: tuple[Kind, ...]
    families: tuple[int, ...]
    interval_s: float
    timeout_s: float
    packets: int
    expect_status: tuple[int, ...]
    expect_body: str | None
    expect_answers: tuple[str, ...]
    server: str | None
    pinned: str | None
    follow_redirects: int
    prefix: str | None
    asn: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What people name, with its parts."""

    name: str
    title: str
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Which probes (by label) run the checks of which services; anchors are run by every probe."""

    name: str
    labels: Mapping[str, str]
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The table `[limits]`."""

    batches_in_flight: int
    queue_mib: int
    per_target_per_minute: float
    free_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One whole, valid `soundings.toml`."""

    doors: Doors
    judging: Judging
    services: tuple[Service, ...]
    anchors: tuple[Component, ...]
    groups: tuple[Group, ...]
    limits: Limits

    def components(self) -> tuple[Component, ...]:
        """Every component of every service, then the anchors."""
        return (*(c for service in self.services for c in service.components), *self.anchors)
