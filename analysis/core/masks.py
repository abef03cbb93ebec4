"""Where the judged target stands: its service, host, prefix and network, and who is unrelated.

A verdict's scope is a set of targets that fail together. The candidates are the levels of the
hierarchy component -> service -> host -> prefix -> AS, each known only as far as the rows say: a
stranger declared as neighbour is in the prefix; an endpoint without a declared prefix is placed by
the covering /24 or /48 of its address, the shortest that is announced in practice.

Roles are read relative to the judged service. `anchor` is a control for everyone. The others count
for their own service, or for any subject that shares their prefix or AS. Subjects of other services
that share neither serve as anchors too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

import numpy as np

from analysis.core.block import Bools, Target
from proto.model import Role

COVERING: Final = {4: 24, 6: 48}  # longest prefixes that are commonly routed, by address family
_OWN: Final = frozenset({Role.SUBJECT, Role.SIBLING, None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Boolean masks over the targets of a block."""

    subjects: tuple[int, ...]  # the judged components
    service: Bools
    anchors: Bools
    strangers: Bools  # neighbours, same_as: of the prefix or AS, not of the service
    host: tuple[Bools, ...]  # one per subject, as the next two
    prefix: tuple[Bools, ...]
    network: tuple[Bools, ...]

    @property
    def siblings(self) -> Bools:
        """Components of the service that are not judged themselves."""
        return self.service & ~_mask(len(self.service), self.subjects)


def prefix_key(target: Target) -> str | None:
    """The announced prefix, or the covering one of the address, or None when neither is known."""
    if target.prefix is not None:
        return target.prefix
    if target.address is None:
        return None
    try:
        address = ip_address(target.address)
    except ValueError:
        return None
    return str(ip_network(f"{address}/{COVERING[address.version]}", strict=False))


def lay_out(targets: Sequence[Target], *, service: str, component: str | None) -> Layout:
    """Masks for one judgement; `subjects` is empty when no row ever measured the component."""
    subjects = _subjects(targets, service, component)
    own = _where(targets, lambda one: one.service == service and one.role in _OWN)
    prefixes = tuple(_prefix(targets, number) for number in subjects)
    networks = tuple(
        _network(targets, number) | prefix
        for number, prefix in zip(subjects, prefixes, strict=True)
    )
    related = np.logical_or.reduce([own, *networks])
    return Layout(
        subjects=subjects,
        service=own,
        anchors=_where(targets, _is_control) & ~related & ~_theirs(targets, service),
        strangers=related & ~own,
        host=tuple(_host(targets, number) for number in subjects),
        prefix=prefixes,
        network=networks,
    )


def _subjects(targets: Sequence[Target], service: str, component: str | None) -> tuple[int, ...]:
    own = [
        (number, one)
        for number, one in enumerate(targets)
        if one.service == service and one.role in _OWN
    ]
    if component is not None:
        return tuple(number for number, one in own if one.component == component)
    judged = [number for number, one in own if one.role is not Role.SIBLING]
    return tuple(judged or [number for number, _ in own])


def _is_control(target: Target) -> bool:
    return target.role is Role.ANCHOR or target.role in _OWN


def _theirs(targets: Sequence[Target], service: str) -> Bools:
    """Targets that belong to the judged service by a role other than anchor."""
    return _where(targets, lambda one: one.service == service and one.role is not Role.ANCHOR)


def _host(targets: Sequence[Target], number: int) -> Bools:
    address = targets[number].address
    same = _where(targets, lambda one: address is not None and one.address == address)
    return same | _mask(len(targets), (number,))


def _prefix(targets: Sequence[Target], number: int) -> Bools:
    me, key = targets[number], prefix_key(targets[number])

    def shares(one: Target) -> bool:
        theirs = prefix_key(one)
        if key is not None and theirs is not None:
            return theirs == key
        return one.role is Role.NEIGHBOUR and one.service == me.service

    return _where(targets, shares) | _mask(len(targets), (number,))


def _network(targets: Sequence[Target], number: int) -> Bools:
    me = targets[number]

    def shares(one: Target) -> bool:
        if me.asn is not None and one.asn == me.asn:
            return True
        return one.service == me.service and one.role is Role.SAME_AS

    return _where(targets, shares) | _mask(len(targets), (number,))


def _where(targets: Sequence[Target], holds: Callable[[Target], bool]) -> Bools:
    return np.array([holds(one) for one in targets], dtype=bool)


def _mask(size: int, members: Iterable[int]) -> Bools:
    mask = np.zeros(size, dtype=bool)
    mask[list(members)] = True
    return mask


def single(layout: Layout, number: int) -> Bools:
    """The mask of one target alone."""
    return _mask(len(layout.service), (number,))
