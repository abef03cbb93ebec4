"""What is served on the lab's internet, on which machine, and what it is to platform X.

X stands for any platform with a live feature: web, API, static files, media and the live component
`spaces`. The controls around it are those that a judgement needs before the incident (an unrelated
server in the same prefix, a host in the network's other prefix, another customer of its CDN, a
status page hosted elsewhere, eight anchors in eight networks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.lab.topology import Part, Topology

SERVICE: Final = "x"
LIVE_COMPONENT: Final = "spaces"
LIVE_PATH: Final = "/live/join"
LIVE_PORT: Final = 9000
LIVE_MACHINE: Final = "x-live"
#: Zones served by the authoritative servers.
ZONES: Final = ("x.test", "y.test", "stranger.test", "peer.test", "anchor.test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One name that answers: a component of X, a control, or an anchor."""

    name: str  # of the component
    domain: str
    machine: str
    role: str = "subject"
    path: str = "/"
    kinds: tuple[str, ...] = ("icmp", "tcp", "http")
    tls: bool = True
    share: float = 2.0  # its interval is that of the live component, times this

    @property
    def is_live(self) -> bool:
        return self.path == LIVE_PATH


#: Names are asked for by themselves at two components of the zone: the rest would repeat them.
_WITH_NAMES: Final = ("icmp", "tcp", "http", "dns")
SUBJECTS: Final = (
    Served(name="web", domain="www.x.test", machine="x-front", kinds=_WITH_NAMES),
    Served(name="api", domain="api.x.test", machine="x-front", path="/1.1/ping"),
    Served(name="static", domain="static.x.test", machine="cdn-edge", path="/app.js"),
    Served(name="media", domain="media.x.test", machine="x-front", path="/hls/master.m3u8"),
    Served(
        name=LIVE_COMPONENT,
        domain="spaces.x.test",
        machine=LIVE_MACHINE,
        path=LIVE_PATH,
        kinds=_WITH_NAMES,
        share=1.0,
    ),
)
CONTROLS: Final = tuple(
    Served(name=name, domain=domain, machine=machine, role=role)
    for name, domain, machine, role in (
        ("status", "status.y.test", "y-front", "sibling"),
        ("neighbour-a", "a.stranger.test", "stranger-a", "neighbour"),
        ("neighbour-b", "b.stranger.test", "stranger-b", "neighbour"),
        ("mail", "mail.x.test", "x-other", "same_as"),
        ("peer", "shop.peer.test", "cdn-peer", "cdn_peer"),
    )
)


def anchors(topology: Topology) -> tuple[Served, ...]:
    """One anchor for each machine that plays one: echo and plain HTTP, which connects first."""
    return tuple(
        Served(
            name=machine,
            domain=f"{machine.removeprefix('anchor-')}.anchor.test",
            machine=machine,
            role="anchor",
            kinds=("icmp", "http"),
            tls=False,
        )
        for machine in topology.names(Part.ANCHOR)
    )


def everything(topology: Topology) -> tuple[Served, ...]:
    """All that is served, subjects first."""
    return (*SUBJECTS, *CONTROLS, *anchors(topology))


def by_name(topology: Topology, name: str) -> Served:
    """The component of that name; `LookupError` lists what there is."""
    known = {served.name: served for served in everything(topology)}
    if name not in known:
        raise LookupError(f"no component {name!r}; there are {', '.join(known)}")
    return known[name]


def by_machine(topology: Topology) -> dict[str, tuple[Served, ...]]:
    """Machine -> what it serves."""
    found: dict[str, tuple[Served, ...]] = {}
    for served in everything(topology):
        found[served.machine] = (*found.get(served.machine, ()), served)
    return found
