"""`soundings.toml` as a whole: from a parsed document to a `Config`, or every finding at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from coordinator.core.accepting import (
    as_number,
    country,
    door,
    door_or_none,
    family,
    labels,
    list_of,
    name,
    number,
    one_of,
    server_name,
    text,
    whole,
    yes_or_no,
)
from coordinator.core.assigning import requests_per_minute
from coordinator.core.canary import GREETING
from coordinator.core.components import (
    DEFAULT_KEYS,
    ComponentReader,
    place,
    refuse_repeated,
)
from coordinator.core.controls import asked_of
from coordinator.core.reading import Findings, Key, read_list, read_table
from coordinator.core.registry import DECLARED, SEEN, Sources
from coordinator.core.settings import (
    ANCHOR_SERVICE,
    CANARY_SERVICE,
    ONCE_SERVICE,
    Address,
    Canary,
    Config,
    Doors,
    Group,
    Judging,
    Limits,
    NetworkTables,
    Service,
)
from proto.model import ConfigError

CHECKS_MAX: Final = 10_000
"""Checks in one configuration: a probe runs ten times a second at the most, so more is a mistake."""


def _as_it_is(value: object) -> object:
    """Read by the reader of components."""
    return value


CAPABILITIES: Final = ("icmp4", "icmp4_raw", "icmp6", "icmp6_raw", "rx_stamps", "tx_stamps")
"""What a probe says of itself in its hello."""

TOP_KEYS: Final = (
    *("coordinator", "judging", "defaults", "service", "anchor", "group", "limits"),
    *("networks", "canary", "trust", "doubt"),
)

DOOR_KEYS: Final = (
    Key("name", name, "soundings"),
    Key("fleet", door, Address("0.0.0.0", 7443)),
    Key("enrol", door, Address("0.0.0.0", 7444)),
    Key("web", door_or_none, Address("127.0.0.1", 8080)),
    Key("names", list_of(server_name), ()),
    Key("contact", text, ""),
)
JUDGING_KEYS: Final = (
    Key("bin_s", whole(1, 3600, "seconds"), 60),
    Key("provisional_s", whole(1, 86_400, "seconds"), 90),
    Key("revised_s", whole(1, 86_400, "seconds"), 900),
    Key("final_s", whole(1, 7 * 86_400, "seconds"), 86_400),
)
SERVICE_KEYS: Final = (
    Key("name", name),
    Key("title", text, None),
    Key("component", _as_it_is, []),
)
GROUP_KEYS: Final = (
    Key("name", name),
    Key("services", list_of(name, at_least=1)),
    Key("labels", labels, {}),
    Key("asns", list_of(as_number), ()),
    Key("countries", list_of(country), ()),
    Key("families", list_of(family), ()),
    Key("capabilities", list_of(one_of(CAPABILITIES)), ()),
    Key("probes", whole(1, 1_000_000, "probes"), None),
)
NETWORK_KEYS: Final = (
    Key("files", list_of(text, at_least=1)),
    Key("asn_from", one_of((SEEN, DECLARED)), SEEN),
    Key("country_from", one_of((SEEN, DECLARED)), SEEN),
)
CANARY_KEYS: Final = (
    Key("listen", door),
    Key("url", text),
    Key("interval_s", number(30, 3600, "seconds"), 300),
)
TRUST_KEYS: Final = (Key("automatic", yes_or_no, default=True),)
DOUBT_KEYS: Final = (Key("ask", yes_or_no, default=True),)
LIMIT_KEYS: Final = (
    Key("batches_in_flight", whole(1, 64, "batches"), 8),
    Key("queue_mib", whole(1, 1024, "MiB"), 32),
    Key("per_target_per_minute", number(0.01, 600, "requests"), 2),
    Key("fleet_per_target_per_minute", number(1, 1_000_000, "requests"), 3000),
    Key("free_mib", whole(0, 1_000_000, "MiB"), 256),
    Key("strangers_per_source", whole(1, 8000, "connections"), 256),
)


def validate(document: Mapping[str, object], *, file: str) -> Config:
    """Make a Config of a parsed file.

    Raises:
        ConfigError: with every finding, each `FILE: KEY is VALUE; FIX`.
    """
    findings = Findings(file)
    for key in document.keys() - set(TOP_KEYS):
        findings.unknown(key, key, TOP_KEYS)
    defaults = read_table(document.get("defaults", {}), "defaults", DEFAULT_KEYS, findings)
    limits = read_table(document.get("limits", {}), "limits", LIMIT_KEYS, findings)
    reader = ComponentReader(findings, defaults, limits["per_target_per_minute"])
    services = _services(document.get("service", []), reader, findings)
    anchors = reader.read(document.get("anchor", []), "anchor", service=ANCHOR_SERVICE, anchor=True)
    config = Config(
        doors=_doors(document.get("coordinator", {}), findings),
        judging=_judging(document.get("judging", {}), findings),
        services=services,
        anchors=anchors,
        groups=_groups(document.get("group", []), services, findings),
        limits=Limits(**limits),
        networks=_networks(document.get("networks"), findings),
        canary=_canary(document.get("canary"), reader, findings),
        ask_on_doubt=read_table(document.get("doubt", {}), "doubt", DOUBT_KEYS, findings)["ask"],
        distrust=read_table(document.get("trust", {}), "trust", TRUST_KEYS, findings)["automatic"],
    )
    _check_whole(config, findings)
    if findings.texts:
        raise ConfigError(tuple(findings.texts))
    return config


def _doors(raw: object, findings: Findings) -> Doors:
    doors = Doors(**read_table(raw, "coordinator", DOOR_KEYS, findings))
    taken: dict[int, str] = {}
    for key in ("fleet", "enrol", "web"):
        address = getattr(doors, key)
        if address and address.port and address.port in taken:
            fix = f"coordinator.{taken[address.port]} has that port already, choose another"
            findings.add(f"coordinator.{key}", str(address), fix)
        if address:
            taken[address.port] = key
    return doors


def _judging(raw: object, findings: Findings) -> Judging:
    judging = Judging(**read_table(raw, "judging", JUDGING_KEYS, findings))
    if 60 % judging.bin_s and judging.bin_s % 60:
        findings.add("judging.bin_s", judging.bin_s, "use a divisor or a multiple of 60")
    if not judging.provisional_s <= judging.revised_s <= judging.final_s:
        shown = [judging.provisional_s, judging.revised_s, judging.final_s]
        fix = "let provisional_s, revised_s and final_s not decrease"
        findings.add("judging.provisional_s, revised_s, final_s", shown, fix)
    return judging


def _networks(raw: object, findings: Findings) -> NetworkTables:
    if raw is None:
        return NetworkTables()
    read = read_table(raw, "networks", NETWORK_KEYS, findings)
    sources = Sources(asn=read["asn_from"], country=read["country_from"])
    return NetworkTables(files=read["files"] or (), sources=sources)


def _canary(raw: object, reader: ComponentReader, findings: Findings) -> Canary | None:
    if raw is None:
        return None
    read = read_table(raw, "canary", CANARY_KEYS, findings)
    if read["listen"] is None or read["url"] is None:
        return None
    asked = {
        "name": "nonce",
        "url": read["url"],
        "kinds": ["http"],
        "interval_s": read["interval_s"],
        "expect_body": GREETING,
        "confirm_after_s": [],
        "trace": False,
        "remembered": False,
    }
    found = reader.read([asked], "canary", service=CANARY_SERVICE, anchor=True)
    return Canary(listen=read["listen"], component=found[0]) if found else None


def _services(raw: object, reader: ComponentReader, findings: Findings) -> tuple[Service, ...]:
    services = []
    for i, table in enumerate(read_list(raw, "service", findings)):
        where = place("service", table, i)
        read = read_table(table, where, SERVICE_KEYS, findings)
        if read["name"] == ANCHOR_SERVICE:
            findings.add(f"{where}.name", ANCHOR_SERVICE, "that name is kept for [[anchor]] tables")
        if read["name"] == ONCE_SERVICE:
            findings.add(f"{where}.name", ONCE_SERVICE, "that name is kept for `soundings measure`")
        if read["name"] == CANARY_SERVICE:
            findings.add(f"{where}.name", CANARY_SERVICE, "that name is kept for [canary]")
        if not read["component"]:
            findings.add(f"{where}.component", [], "give it at least one [[service.component]]")
        components = reader.read(
            read["component"], f"{where}.component", service=read["name"] or ""
        )
        named = read["name"] or ""
        services.append(Service(name=named, title=read["title"] or named, components=components))
    refuse_repeated((s.name for s in services), "service", findings)
    return tuple(services)


def _groups(raw: object, services: tuple[Service, ...], findings: Findings) -> tuple[Group, ...]:
    known = [service.name for service in services]
    groups = []
    for i, table in enumerate(read_list(raw, "group", findings)):
        where = place("group", table, i)
        read = read_table(table, where, GROUP_KEYS, findings)
        for service in read["services"] or ():
            if service not in known:
                fix = f"name services of this file: {', '.join(known) or 'there is none'}"
                findings.add(f"{where}.services", service, fix)
        read |= {"name": read["name"] or "", "services": read["services"] or ()}
        groups.append(Group(**read))
    refuse_repeated((g.name for g in groups), "group", findings)
    return tuple(groups)


def _check_whole(config: Config, findings: Findings) -> None:
    components = config.components()
    if not components and not findings.texts:
        findings.add("service", [], "give at least one [[service]] or [[anchor]] to measure")
    if findings.texts:
        return  # a component that could not be read whole cannot be counted
    checks = sum(1 for component in components for _ in asked_of(component))
    if checks > CHECKS_MAX:
        findings.add("service", f"{checks} checks", f"one configuration may hold {CHECKS_MAX}")
    for host in sorted({component.url.host for component in components}):
        load = requests_per_minute(config, host)
        if load > config.limits.fleet_per_target_per_minute:
            fix = f"one probe alone asks {host} {load:g} times a minute: give at least that"
            value = config.limits.fleet_per_target_per_minute
            findings.add("limits.fleet_per_target_per_minute", value, fix)
