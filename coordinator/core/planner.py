"""Checks times groups: what each probe is asked to run, under numbers that never change meaning.

A check is named by what it asks (`x/spaces/http/4`) and numbered once: rows carry the number, and a
probe that was away for days still reports under it. So a number outlives the configuration that
made it, and is never given to another check.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from coordinator.core.assigning import Key
from coordinator.core.controls import TRANSPORT, Asked, asked_of, on_failure, settings_of
from coordinator.core.settings import Component, Config
from proto.model import Check, Kind, Plan

FLUSH_S_MAX: Final = 5.0
"""A report leaves after this long: fewer, larger reports cost a tenth of many small ones."""

FLUSH_S_MIN: Final = 0.5
"""Below this a report costs more than its rows, whatever the bins."""

HEARTBEAT_S_MAX: Final = 15.0
"""Silence is noticed after three of these."""

HEARTBEAT_S_MIN: Final = 2.0
"""For drills with bins of seconds."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A check and the component that it belongs to."""

    check: Check
    component: Component


def check_id(component: Component, asked: Asked) -> str:
    """The name of a check: the same for as long as it asks the same thing."""
    return f"{component.service}/{component.name}/{asked.suffix}"


def check_ids(config: Config) -> tuple[str, ...]:
    """Every check of a configuration, in its order."""
    return tuple(
        check_id(component, asked)
        for component in config.components()
        for asked in asked_of(component)
    )


def number_checks(ids: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """A number for each check: the one it always had, else the next one never used."""
    following = max(known.values(), default=0) + 1
    numbers = {}
    for each in ids:
        if each not in known:
            numbers[each] = following
            following += 1
        else:
            numbers[each] = known[each]
    return numbers


def define_checks(config: Config, numbers: Mapping[str, int]) -> tuple[Definition, ...]:
    """Every check of a configuration, defined."""
    return tuple(
        Definition(check, component)
        for component in config.components()
        for check in _checks(component, numbers)
    )


def _checks(component: Component, numbers: Mapping[str, int]) -> Iterator[Check]:
    among = list(asked_of(component))
    for asked in among:
        following = on_failure(asked, among)
        yield replace(
            _plain(component, asked, numbers),
            control=asked.control,
            on_failure=tuple(numbers[check_id(component, other)] for other in following),
            confirm_after_s=component.confirm_after_s if _is_own(asked) else (),
            **settings_of(asked, component),
        )


def _is_own(asked: Asked) -> bool:
    return asked.control is None and not asked.only_triggered


def _plain(component: Component, asked: Asked, numbers: Mapping[str, int]) -> Check:
    kind, name = asked.kind, check_id(component, asked)
    asks_dns = kind is Kind.DNS
    has_port = kind in TRANSPORT or (kind is Kind.TRACE and set(component.kinds) & TRANSPORT)
    return Check(
        check_no=numbers[name],
        check_id=name,
        kind=kind,
        host=component.url.host,
        port=component.url.port if has_port else None,
        family=asked.family,
        interval_s=component.interval_s,
        timeout_s=component.timeout_s,
        packets=component.packets,
        use_tls=kind is Kind.TLS or (kind is Kind.HTTP and component.url.scheme == "https"),
        path=component.url.path,
        expect_status=component.expect_status,
        expect_body=component.expect_body if kind is Kind.HTTP else None,
        expect_sha256=component.expect_sha256 if kind is Kind.HTTP else None,
        body_cap_bytes=component.body_cap_bytes,
        http_versions=component.http_versions,
        qtype="AAAA" if asked.family == 6 else "A",
        server=component.server if asks_dns else None,
        expect_answers=component.expect_answers,
        pinned=None if asks_dns else component.pinned,
        follow_redirects=component.follow_redirects,
    )


def plan_for(
    definitions: Iterable[Definition],
    components: Collection[Key],
    *,
    config: Config,
    version: int,
    issued_at_us: int,
) -> Plan:
    """The plan of every probe that measures these components."""
    checks = tuple(
        definition.check
        for definition in definitions
        if (definition.component.service, definition.component.name) in components
    )
    contact = config.doors.contact
    return Plan(
        version=version,
        checks=checks,
        issued_at_us=issued_at_us,
        heartbeat_s=_between(HEARTBEAT_S_MIN, 5.0 * config.judging.bin_s, HEARTBEAT_S_MAX),
        flush_s=_between(FLUSH_S_MIN, config.judging.bin_s / 2, FLUSH_S_MAX),
        user_agent=f"soundings-probe (+{contact})" if contact else "soundings-probe",
    )


def _between(low: float, value: float, high: float) -> float:
    return min(high, max(low, value))
