"""What another configuration would change: checks, groups, settings, plans, and the load on targets.

Pure. Plans are compared whole, probe by probe, as the planner would make them, so that what is said
of a fleet is what will happen to it; loads are what all its probes together would ask of each host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from coordinator.core.assigning import Candidate, Key, allot, components_of, load_of
from coordinator.core.planner import Definition, check_ids, define_checks, number_checks, plan_for
from coordinator.core.settings import Config
from proto.model import Check, Plan

RESTART: Final = frozenset({"coordinator.fleet", "coordinator.enrol", "coordinator.web"})
"""Settings that hold from the next start on: ports that are bound."""

_TABLES: Final = {"doors": "coordinator"}
_LISTS: Final = frozenset({"services", "anchors", "groups"})
_MARKS: Final = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is `added`, `removed` or `changed`; details are KEY BEFORE -> AFTER."""

    how: str
    what: str
    details: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For a person."""
        said = f": {', '.join(self.details)}" if self.details else ""
        return f"{_MARKS[self.how]} {self.what}{said}"


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a minute that all probes together make to one host."""

    host: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Difference:
    """All of it; the plans of `affected` of `probes` would say something else."""

    changes: tuple[Change, ...]
    probes: int
    affected: int
    loads: tuple[Load, ...]

    @property
    def restart(self) -> tuple[str, ...]:
        """Changed settings that hold only from the next start on."""
        return tuple(one.what for one in self.changes if one.what in RESTART)

    def count(self, how: str) -> int:
        """How many checks are added, removed or changed."""
        return sum(one.how == how and one.what.startswith("check ") for one in self.changes)


def compare(old: Config, new: Config, candidates: Iterable[Candidate]) -> Difference:
    """What changes from one configuration to another, for this fleet."""
    fleet = tuple(candidates)
    numbers = number_checks([*dict.fromkeys((*check_ids(old), *check_ids(new)))], {})
    before, after = _Outlook(old, numbers, fleet), _Outlook(new, numbers, fleet)
    loads = [
        Load(host, before.loads[host], after.loads[host])
        for host in sorted({*before.loads, *after.loads})
        if before.loads[host] != after.loads[host]
    ]
    return Difference(
        (
            *_changed("check", before.checks, after.checks),
            *_changed("group", _groups(old), _groups(new)),
            *_settings(old, new),
        ),
        probes=len(fleet),
        affected=sum(before.plans[i] != after.plans[i] for i in range(len(fleet))),
        loads=tuple(loads),
    )


class _Outlook:
    """What one configuration means for a fleet."""

    def __init__(
        self, config: Config, numbers: Mapping[str, int], fleet: tuple[Candidate, ...]
    ) -> None:
        definitions = define_checks(config, numbers)
        self.checks = {one.check.check_id: _facts(one) for one in definitions}
        allotment = allot(config, fleet)
        shares = [components_of(one, config, allotment) for one in fleet]
        made = {share: _content(definitions, share, config) for share in set(shares)}
        self.plans = [made[share] for share in shares]
        self.loads = _loads(config, Counter(shares))


def _content(
    definitions: tuple[Definition, ...], share: frozenset[Key], config: Config
) -> tuple[Plan, frozenset[Check]]:
    """What a plan says; the order of its checks says nothing."""
    plan = plan_for(definitions, share, config=config, version=0, issued_at_us=0)
    return replace(plan, checks=()), frozenset(plan.checks)


def _facts(definition: Definition) -> dict[str, Any]:
    """What a check asks, and what its rows are stamped with; numbers stand for other checks."""
    check, component = definition.check, definition.component
    asked = {f.name: getattr(check, f.name) for f in fields(check) if f.name != "check_no"}
    return {
        **asked,
        "role": component.role.value,
        "asn": component.asn,
        "prefix": component.prefix,
    }


def _loads(config: Config, shares: Counter[frozenset[Key]]) -> Counter[str]:
    loads: Counter[str] = Counter()
    for component in config.components():
        key = (component.service, component.name)
        probes = sum(count for share, count in shares.items() if key in share)
        loads[component.url.host] += load_of(component) * probes  # type: ignore[assignment]
    return loads


def _groups(config: Config) -> dict[str, dict[str, Any]]:
    return {group.name: _values(group) for group in config.groups}


def _values(held: Any) -> dict[str, Any]:
    return {field.name: getattr(held, field.name) for field in fields(held)}


def _changed(
    kind: str, old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]
) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        if name not in old:
            yield Change("added", f"{kind} {name}")
        elif name not in new:
            yield Change("removed", f"{kind} {name}")
        elif details := tuple(_details(old[name], new[name])):
            yield Change("changed", f"{kind} {name}", details)


def _details(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key, before in old.items():
        if before != new[key]:
            yield "on_failure" if key == "on_failure" else f"{key} {before} -> {new[key]}"


def _settings(old: Config, new: Config) -> Iterator[Change]:
    """Single values, by table and key as in the file."""
    for field in fields(Config):
        before, after = getattr(old, field.name), getattr(new, field.name)
        table = _TABLES.get(field.name, field.name)
        if field.name in _LISTS or before == after:
            continue
        held = _values(after)
        for key, value in _values(before).items():
            if value != held[key]:
                yield Change("changed", f"{table}.{key}", (f"{value} -> {held[key]}",))


def lines(difference: Difference) -> list[str]:
    """For a person: every change, then what it does to the fleet and to targets."""
    if not difference.changes:
        return ["nothing changes"]
    told = [one.text for one in difference.changes]
    told.append(f"plans: {difference.affected} of {difference.probes} probes get another content")
    told += [
        f"load on {one.host}: {one.before:g} -> {one.after:g} requests a minute by all probes"
        for one in difference.loads
    ]
    told += [f"{name} holds from the next start on" for name in difference.restart]
    return told
