"""What `soundings.toml` says, as frozen values. `coordinator.core.validation` makes them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator.core.registry import Sources
from proto.model import Kind, Role

ANCHOR_SERVICE = "anchor"
"""Anchors are controls for every service; in rows they belong to a service of this name."""


ONCE_SERVICE = "once"
"""What was measured once, on request, belongs to a service of this name; nothing of it is judged."""


CANARY_SERVICE = "canary"
"""What every probe asks of the coordinator's own answerer: it tells of the probe, and of no target."""


def is_literal(value: str) -> bool:
    """Is this an address literal?"""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


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
    http_versions: tuple[str, ...]
    expect_sha256: str | None
    body_cap_bytes: int
    neutral_sni: str | None
    second_port: int | None
    public_resolvers: tuple[str, ...]
    authoritative: bool
    remembered: bool
    trace: bool
    confirm_after_s: tuple[float, ...]
    prefix: str | None
    asn: int | None

    @property
    def speaks_tls(self) -> bool:
        """Whether its URL asks for TLS."""
        return self.url.scheme in {"https", "tls"}

    @property
    def is_resolved(self) -> bool:
        """Whether its address comes from DNS at each slot."""
        return self.pinned is None and not is_literal(self.url.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What people name, with its parts."""

    name: str
    title: str
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Which probes run the checks of which services; anchors are run by every probe.

    A probe fits when it is all that the group names. `probes` is how many of those that fit get a
    place; None = all of them.
    """

    name: str
    services: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    asns: tuple[int, ...] = ()
    countries: tuple[str, ...] = ()
    families: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    probes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The table `[limits]`."""

    batches_in_flight: int
    queue_mib: int
    per_target_per_minute: float
    fleet_per_target_per_minute: float
    free_mib: int
    strangers_per_source: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTables:
    """The table `[networks]`: files that say where addresses are, and where they are believed."""

    files: tuple[str, ...] = ()
    sources: Sources = field(default_factory=Sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """The table `[canary]`: where the answerer listens, and what probes ask of it."""

    listen: Address
    component: Component


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One whole, valid `soundings.toml`."""

    doors: Doors
    judging: Judging
    services: tuple[Service, ...]
    anchors: tuple[Component, ...]
    groups: tuple[Group, ...]
    limits: Limits
    networks: NetworkTables = field(default_factory=NetworkTables)
    canary: Canary | None = None
    ask_on_doubt: bool = True  # more measurements where judging is in doubt
    distrust: bool = True  # quarantine by itself what no honest probe does

    def components(self) -> tuple[Component, ...]:
        """Every component of every service, the anchors, and what every probe asks of ourselves."""
        own = () if self.canary is None else (self.canary.component,)
        return (*(c for service in self.services for c in service.components), *self.anchors, *own)
