"""One measurement on request: what is asked, of whom, and how seldom a target may be asked so.

A request is checked like a component of the configuration, by the same reader: what a plan could not
ask, nobody can ask once.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from coordinator.core.assigning import Candidate, fits, rank, requests_per_minute
from coordinator.core.planner import Definition, check_ids, define_checks, number_checks
from coordinator.core.settings import ONCE_SERVICE, Component, Config, Group, Service
from coordinator.core.validation import validate
from proto.model import ConfigError, Plan

PROBES_MAX: Final = 500
"""Probes that one request asks."""

MINUTE_US: Final = 60 * 1_000_000

FILE: Final = "soundings measure"
"""Stands where a finding names its file."""

_OPTIONS: Final = {
    "url": "URL",
    "kinds": "--kinds",
    "families": "--family",
    "asns": "--asn",
    "countries": "--country",
    "labels": "--label",
}
"""What the command calls the keys of a configuration that a request can get wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asks for. Empty = whatever is possible, or any."""

    url: str
    kinds: tuple[str, ...] = ()
    families: tuple[int, ...] = ()
    probes: int = 10
    asns: tuple[int, ...] = ()
    countries: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


class RequestRefusedError(Exception):
    """A request cannot be met; the text names the option, its value and the fix."""


def config_of(request: Request, *, token: str) -> Config:
    """A configuration with one component and nothing else. `token` makes its name unlike any other.

    Raises RequestRefusedError with every finding.
    """
    component: dict[str, object] = {"name": _name(request.url, token), "url": request.url}
    component |= {"kinds": list(request.kinds)} if request.kinds else {}
    component |= {"families": list(request.families)} if request.families else {}
    component |= {"trace": False, "remembered": False}
    group = {
        "name": "asked",
        "services": ["measure"],
        "asns": list(request.asns),
        "countries": list(request.countries),
        "labels": dict(request.labels),
    }
    service = {"name": "measure", "component": [component]}
    try:
        config = validate({"service": [service], "group": [group]}, file=FILE)
    except ConfigError as error:
        raise RequestRefusedError("\n".join(_said(text) for text in error.findings)) from error
    if not 1 <= request.probes <= PROBES_MAX:
        raise RequestRefusedError(f"--from is {request.probes}; give 1 to {PROBES_MAX}")
    (only,) = config.services[0].components
    only = replace(only, service=ONCE_SERVICE)
    named = replace(config.services[0], name=ONCE_SERVICE, components=(only,))
    return replace(config, services=(named,))


def config_again(config: Config, component: Component, *, token: str) -> Config:
    """A configuration with one component of another, to be measured once; its name tells both."""
    name = f"{component.name[:40]}.{token}"
    only = replace(component, service=ONCE_SERVICE, name=name, trace=False, remembered=False)
    service = Service(name=ONCE_SERVICE, title=ONCE_SERVICE, components=(only,))
    return replace(config, services=(service,), anchors=(), groups=(), canary=None)


def _name(url: str, token: str) -> str:
    """Part of the host for people, and the token, in the letters of a name."""
    host = re.sub(r"^[a-z]+://|[/?#].*$|:\d+$", "", url.lower())
    return f"{re.sub(r'[^a-z0-9.-]', '-', host).strip('.-')[:40] or 'target'}.{token}"


def _said(finding: str) -> str:
    """A finding in the words of the command instead of the file's."""
    key, _, rest = finding.removeprefix(f"{FILE}: ").partition(" ")
    return f"{_OPTIONS[key.rpartition('.')[2]]} {rest}"


def definitions_of(config: Config, known: Mapping[str, int]) -> tuple[Definition, ...]:
    """The checks of a request: its component's own, without slots and without what would follow them."""
    numbers = number_checks(check_ids(config), known)
    return tuple(
        replace(
            definition,
            check=replace(definition.check, interval_s=0.0, on_failure=(), confirm_after_s=()),
        )
        for definition in define_checks(config, numbers)
    )


def plan_of(definitions: Iterable[Definition], *, number: int, issued_at_us: int) -> Plan:
    """The message that carries the checks. `number` is above that of every request before it."""
    checks = tuple(definition.check for definition in definitions)
    return Plan(version=number, checks=checks, issued_at_us=issued_at_us)


def choose(config: Config, present: Iterable[Candidate], *, probes: int) -> tuple[str, ...]:
    """Ids of at most so many of the probes that fit, in as many networks as can be.

    Raises RequestRefusedError when nobody fits.
    """
    present = tuple(present)
    group: Group = config.groups[0]
    fitting = rank(one for one in present if fits(group, one))
    if not present:
        raise RequestRefusedError(
            "no probe is connected; `soundings coordinator probes list` says which there are and when "
            "each was last heard"
        )
    if not fitting:
        raise RequestRefusedError(
            f"of {len(present)} connected probes none is what was asked for; look at `soundings "
            "coordinator probes list`, or ask for less"
        )
    return tuple(one.probe_id for one in fitting[:probes])


class Allowance:
    """What requests may ask of each host in a minute: as much as the fleet's schedule may."""

    def __init__(self) -> None:
        self._asked: dict[str, deque[tuple[int, float]]] = {}

    def take(self, config: Config, *, probes: int, ceiling: float, now_us: int) -> None:
        """Count a request. Raises RequestRefusedError when its target has been asked enough."""
        component = config.services[0].components[0]
        host, load = component.url.host, requests_per_minute(config, component.url.host)
        load *= probes * component.interval_s / 60
        for asked in self._asked.values():
            while asked and now_us - asked[0][0] >= MINUTE_US:
                asked.popleft()
        self._asked = {name: asked for name, asked in self._asked.items() if asked}
        before = sum(one for _, one in self._asked.get(host, ()))
        if before + load > ceiling:
            raise RequestRefusedError(
                f"--from is {probes}: {host} would be asked {before + load:g} times within a minute, "
                f"limits.fleet_per_target_per_minute allows {ceiling:g}; ask fewer probes, or later"
            )
        self._asked.setdefault(host, deque()).append((now_us, load))
