"""The checks that a component is given beside its own: controls and what runs only when it fails.

A check that does what a user does says that something failed; a control says where. Each control
changes one thing (another resolver, another port, another name in the handshake, an address from
yesterday) and leaves the rest as it is, so that the pair of them places the failure. Traces and
remembered addresses have no slots: they run when one of the component's own checks fails, or when
the coordinator asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coordinator.core.settings import Component
from proto.model import Control, Kind

TRANSPORT = frozenset({Kind.TCP, Kind.HTTP, Kind.TLS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One check of a component: its kind and family, and what sets it apart from the plain one."""

    kind: Kind
    family: int
    control: Control | None = None
    server: str | None = None  # public_resolver: whom to ask
    only_triggered: bool = False

    @property
    def suffix(self) -> str:
        """What follows `service/component` in the check's id."""
        parts = [self.kind.value, str(self.family), self.control, self.server]
        return "/".join(part for part in parts if part is not None)


def asked_of(component: Component) -> Iterator[Asked]:
    """Every check of a component, its own first."""
    for kind in component.kinds:
        for family in component.families:
            yield Asked(kind=kind, family=family)
    for family in component.families:
        yield from _controls(component, family)


def _controls(component: Component, family: int) -> Iterator[Asked]:
    kinds = set(component.kinds)
    if Kind.DNS in kinds:
        for server in component.public_resolvers:
            yield Asked(
                kind=Kind.DNS, family=family, control=Control.PUBLIC_RESOLVER, server=server
            )
        if component.authoritative:
            yield Asked(kind=Kind.DNS, family=family, control=Control.AUTHORITATIVE)
    if component.second_port is not None:
        yield Asked(kind=Kind.TCP, family=family, control=Control.SECOND_PORT)
    if component.neutral_sni is not None:
        yield Asked(kind=Kind.TLS, family=family, control=Control.NEUTRAL_SNI)
    if component.remembered and component.is_resolved and kinds & TRANSPORT:
        yield Asked(
            kind=Kind.TLS if component.speaks_tls else Kind.TCP,
            family=family,
            control=Control.REMEMBERED,
            only_triggered=True,
        )
    if component.trace and kinds - {Kind.DNS}:
        yield Asked(kind=Kind.TRACE, family=family, only_triggered=True)


def on_failure(asked: Asked, among: list[Asked]) -> tuple[Asked, ...]:
    """What runs when a scheduled attempt of this check fails: a failed name needs no trace."""
    if asked.control is not None or asked.only_triggered:
        return ()
    return tuple(
        other
        for other in among
        if other.only_triggered and other.family == asked.family and _answers(asked.kind, other)
    )


def _answers(kind: Kind, other: Asked) -> bool:
    if other.control is Control.REMEMBERED:
        return kind is Kind.DNS or kind in TRANSPORT
    return kind is not Kind.DNS


def settings_of(asked: Asked, component: Component) -> dict[str, Any]:
    """The fields of `proto.model.Check` in which this check differs from the component's own."""
    match asked.control:
        case Control.PUBLIC_RESOLVER:
            return {"server": asked.server, "pinned": None}
        case Control.AUTHORITATIVE:
            return {"server": None, "pinned": None}
        case Control.SECOND_PORT:
            return {"port": component.second_port, "use_tls": False}
        case Control.NEUTRAL_SNI:
            return {"sni": component.neutral_sni}
        case Control.REMEMBERED:
            return {"pinned": None, "interval_s": 0.0}
        case None:
            return {"interval_s": 0.0} if asked.only_triggered else {}
