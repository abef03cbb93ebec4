"""The classes of a verdict, how they nest, and the one word that each answers first.

The words and codes are a public contract. The leaves exclude each other for one target and one
window; a parent is an honest answer when its leaves cannot be told apart. The tree:

    healthy
    source       vantage_local, access_network, country
    path         upstream, interference
    target       other_target_fault, dns, edge, tls
      target_net   target_network, target_network_lossy
      application  application_service, application_component, overload
    insufficient
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class VerdictClass(StrEnum):
    """What a verdict says: a leaf, a parent, or that the evidence does not suffice."""

    HEALTHY = "healthy"
    VANTAGE_LOCAL = "vantage_local"
    ACCESS_NETWORK = "access_network"
    COUNTRY = "country"
    UPSTREAM = "upstream"
    INTERFERENCE = "interference"
    TARGET_NETWORK = "target_network"
    TARGET_NETWORK_LOSSY = "target_network_lossy"
    DNS = "dns"
    EDGE = "edge"
    TLS = "tls"
    APPLICATION_SERVICE = "application_service"
    APPLICATION_COMPONENT = "application_component"
    OVERLOAD = "overload"
    OTHER_TARGET_FAULT = "other_target_fault"
    SOURCE = "source"
    PATH = "path"
    TARGET = "target"
    TARGET_NET = "target_net"
    APPLICATION = "application"
    INSUFFICIENT = "insufficient"


class Level(StrEnum):
    """The founding question's answer in one word."""

    HEALTHY = "healthy"
    LOCAL = "local"
    UPSTREAM = "upstream"
    TARGET = "target"
    APPLICATION = "application"
    UNKNOWN = "unknown"


C = VerdictClass

LEAVES: Final = (
    C.HEALTHY,
    C.VANTAGE_LOCAL,
    C.ACCESS_NETWORK,
    C.COUNTRY,
    C.UPSTREAM,
    C.INTERFERENCE,
    C.TARGET_NETWORK,
    C.TARGET_NETWORK_LOSSY,
    C.DNS,
    C.EDGE,
    C.TLS,
    C.APPLICATION_SERVICE,
    C.APPLICATION_COMPONENT,
    C.OVERLOAD,
    C.OTHER_TARGET_FAULT,
)

SOURCE_LEAVES: Final = (C.VANTAGE_LOCAL, C.ACCESS_NETWORK, C.COUNTRY)
PATH_LEAVES: Final = (C.UPSTREAM, C.INTERFERENCE)
TARGET_LEAVES: Final = tuple(
    leaf for leaf in LEAVES if leaf not in (C.HEALTHY, *SOURCE_LEAVES, *PATH_LEAVES)
)

PARENT: Final[Mapping[VerdictClass, VerdictClass | None]] = {
    C.HEALTHY: None,
    C.VANTAGE_LOCAL: C.SOURCE,
    C.ACCESS_NETWORK: C.SOURCE,
    C.COUNTRY: C.SOURCE,
    C.UPSTREAM: C.PATH,
    C.INTERFERENCE: C.PATH,
    C.TARGET_NETWORK: C.TARGET_NET,
    C.TARGET_NETWORK_LOSSY: C.TARGET_NET,
    C.DNS: C.TARGET,
    C.EDGE: C.TARGET,
    C.TLS: C.TARGET,
    C.APPLICATION_SERVICE: C.APPLICATION,
    C.APPLICATION_COMPONENT: C.APPLICATION,
    C.OVERLOAD: C.APPLICATION,
    C.OTHER_TARGET_FAULT: C.TARGET,
    C.TARGET_NET: C.TARGET,
    C.APPLICATION: C.TARGET,
    C.SOURCE: None,
    C.PATH: None,
    C.TARGET: None,
    C.INSUFFICIENT: None,
}

CODE: Final[Mapping[VerdictClass, str]] = {
    C.HEALTHY: "V0",
    C.VANTAGE_LOCAL: "S1",
    C.ACCESS_NETWORK: "S2",
    C.COUNTRY: "S3",
    C.UPSTREAM: "P1",
    C.INTERFERENCE: "P2",
    C.TARGET_NETWORK: "T1",
    C.TARGET_NETWORK_LOSSY: "T2",
    C.DNS: "T3",
    C.EDGE: "T4",
    C.TLS: "T5",
    C.APPLICATION_SERVICE: "T6",
    C.APPLICATION_COMPONENT: "T7",
    C.OVERLOAD: "T8",
    C.OTHER_TARGET_FAULT: "T9",
    C.INSUFFICIENT: "U1",
}

_LEVEL_OF_ROOT: Final = {
    C.HEALTHY: Level.HEALTHY,
    C.SOURCE: Level.LOCAL,
    C.PATH: Level.UPSTREAM,
    C.TARGET: Level.TARGET,
    C.INSUFFICIENT: Level.UNKNOWN,
}


def ancestors(verdict_class: VerdictClass) -> tuple[VerdictClass, ...]:
    """The parents of a class, nearest first."""
    parent = PARENT[verdict_class]
    return () if parent is None else (parent, *ancestors(parent))


def leaves_under(verdict_class: VerdictClass) -> tuple[VerdictClass, ...]:
    """Every leaf that the class stands for; a leaf stands for itself."""
    return tuple(
        leaf for leaf in LEAVES if leaf is verdict_class or verdict_class in ancestors(leaf)
    )


def level_of(verdict_class: VerdictClass) -> Level:
    """The one word: application faults stand apart from the rest of the target's."""
    line = (verdict_class, *ancestors(verdict_class))
    return Level.APPLICATION if C.APPLICATION in line else _LEVEL_OF_ROOT[line[-1]]


def mass(posterior: Mapping[VerdictClass, float], leaves: Iterable[VerdictClass]) -> float:
    """Summed probability of some leaves."""
    return sum(posterior.get(leaf, 0.0) for leaf in leaves)
