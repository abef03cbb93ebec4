"""Components and anchors of `soundings.toml`: what can be measured of a URL, how often, how long.

A component names its URL and may leave the rest to `[defaults]`. What the defaults ask and the URL
cannot give (a DNS question about an address literal, an HTTP request to a bare port) is left out
silently; what the component itself asks and the URL cannot give is a finding.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

from coordinator.core.accepting import (
    family,
    hash_prefix,
    list_of,
    literal,
    name,
    network,
    number,
    one_of,
    text,
    url,
    whole,
    yes_or_no,
)
from coordinator.core.reading import Findings, Key, read_list, read_mapping, read_table
from coordinator.core.settings import Component, Url, is_literal
from proto.model import Kind, Role

_KINDS: Final = list_of(one_of([kind for kind in Kind if kind is not Kind.TRACE]), at_least=1)
_FAMILIES: Final = list_of(family, at_least=1)
_INTERVAL: Final = number(1, 3600, "seconds")
_TIMEOUT: Final = number(0.1, 60, "seconds")
_PACKETS: Final = whole(1, 10, "packets")
_HTTP_VERSIONS: Final = list_of(one_of(("2", "1.1")), at_least=1)
_RESOLVERS: Final = list_of(literal)
_CONFIRM: Final = list_of(number(0.5, 60, "seconds"))

DEFAULT_KEYS: Final = (
    Key("interval_s", _INTERVAL, 30),
    Key("timeout_s", _TIMEOUT, 5),
    Key("packets", _PACKETS, 3),
    Key("families", _FAMILIES, (4,)),
    Key("kinds", _KINDS, (Kind.ICMP, Kind.TCP, Kind.HTTP, Kind.DNS)),
    Key("http_versions", _HTTP_VERSIONS, ("1.1",)),
    Key("public_resolvers", _RESOLVERS, ()),
    Key("authoritative", yes_or_no, default=False),
    Key("remembered", yes_or_no, default=True),
    Key("trace", yes_or_no, default=True),
    Key("confirm_after_s", _CONFIRM, (3.0, 10.0)),
)
ANCHOR_KEYS: Final = (
    Key("name", name),
    Key("url", url),
    Key("kinds", _KINDS, None),
    Key("families", _FAMILIES, None),
    Key("interval_s", _INTERVAL, None),
    Key("timeout_s", _TIMEOUT, None),
    Key("packets", _PACKETS, None),
    Key("expect_status", list_of(whole(100, 599, "(an HTTP status)"), at_least=1), (200,)),
    Key("expect_body", text, None),
    Key("expect_answers", list_of(network), ()),
    Key("server", literal, None),
    Key("pinned", literal, None),
    Key("follow_redirects", whole(0, 5, "redirects"), 0),
    Key("http_versions", _HTTP_VERSIONS, None),
    Key("expect_sha256", hash_prefix, None),
    Key("body_cap_bytes", whole(1024, 1_048_576, "bytes"), 65_536),
    Key("neutral_sni", name, None),
    Key("second_port", whole(1, 65_535, "(a port)"), None),
    Key("public_resolvers", _RESOLVERS, None),
    Key("authoritative", yes_or_no, None),
    Key("remembered", yes_or_no, None),
    Key("trace", yes_or_no, None),
    Key("confirm_after_s", _CONFIRM, None),
    Key("prefix", network, None),
    Key("asn", whole(1, 4_294_967_295, "(an AS number)"), None),
)
_DEFAULTED: Final = frozenset(key.name for key in DEFAULT_KEYS) - {"families", "kinds"}

COMPONENT_KEYS: Final = (
    *ANCHOR_KEYS,
    Key("role", one_of([role for role in Role if role is not Role.ANCHOR]), "subject"),
)


def place(table: str, raw: object, position: int) -> str:
    """How findings name one table of a list: by its name, else by its position from 0."""
    given = raw.get("name") if isinstance(raw, dict) else None
    return f"{table}[{given if isinstance(given, str) else position}]"


def refuse_repeated(names: Iterable[str], where: str, findings: Findings) -> None:
    """Note every name that is used more than once."""
    seen: set[str] = set()
    for each in names:
        if each and each in seen:
            findings.add(f"{where}.name", each, "it is used twice, give each its own name")
        seen.add(each)


class ComponentReader:
    """Reads lists of component or anchor tables with the file's defaults and its ceiling."""

    def __init__(self, findings: Findings, defaults: Mapping[str, Any], ceiling: float) -> None:
        self._findings = findings
        self._defaults = defaults
        self._ceiling = ceiling
        self._said: set[str] = set()

    def read(
        self, raw: object, table: str, *, service: str, anchor: bool = False
    ) -> tuple[Component, ...]:
        """Every component that could be read; what could not is a finding."""
        components = []
        for i, one in enumerate(read_list(raw, table, self._findings)):
            where = place(table, one, i)
            keys = ANCHOR_KEYS if anchor else COMPONENT_KEYS
            read = read_table(one, where, keys, self._findings)
            if read["name"] and read["url"]:
                given = frozenset(read_mapping(one, where, Findings("")))
                role = Role.ANCHOR if anchor else Role(read["role"])
                components.append(self._component({**read, "role": role}, given, where, service))
        refuse_repeated((c.name for c in components), table, self._findings)
        return tuple(components)

    def _component(
        self, read: dict[str, Any], given: frozenset[str], where: str, service: str
    ) -> Component:
        unfit = any(read[key] is None for key in given & {"interval_s", "timeout_s"})
        for key in _DEFAULTED:
            read[key] = self._defaults[key] if read[key] is None else read[key]
        if not unfit:
            self._check_timing(read, given, where)
        read["families"] = self._families(read, where)
        read["kinds"] = self._kinds(read, where)
        return Component(**read, service=service)

    def _families(self, read: Mapping[str, Any], where: str) -> tuple[int, ...]:
        address: Url = read["url"]
        given: tuple[int, ...] | None = read["families"]
        if not is_literal(address.host):
            return self._defaults["families"] if given is None else given
        own = (ipaddress.ip_address(address.host).version,)
        if given is not None and given != own:
            fix = f"the URL's address is IPv{own[0]}: give [{own[0]}] or leave it out"
            self._findings.add(f"{where}.families", list(given), fix)
        return own

    def _kinds(self, read: Mapping[str, Any], where: str) -> tuple[Kind, ...]:
        given: tuple[str, ...] | None = read["kinds"]
        asked = self._defaults["kinds"] if given is None else given
        obstacles = {kind: _obstacle(kind, read["url"]) for kind in map(Kind, asked)}
        if given is not None:
            for kind, obstacle in obstacles.items():
                if obstacle:
                    self._findings.add(f"{where}.kinds", kind.value, obstacle)
        possible = tuple(kind for kind, obstacle in obstacles.items() if not obstacle)
        if given is None and not possible:
            fix = "none of defaults.kinds can be asked of this URL, give the component its own"
            self._findings.add(f"{where}.kinds", list(asked), fix)
        return possible

    def _check_timing(self, read: Mapping[str, Any], given: frozenset[str], where: str) -> None:
        interval_s, timeout_s = read["interval_s"], read["timeout_s"]
        if 60 / interval_s > self._ceiling:
            fix = (
                f"a vantage may ask a target {self._ceiling:g} times a minute: give at least "
                f"{60 / self._ceiling:g}, or raise limits.per_target_per_minute"
            )
            self._once("interval_s", given, where, interval_s, fix)
        if timeout_s > interval_s:
            fix = f"a slot falls due every {interval_s:g} s: give no more than that"
            self._once("timeout_s", given, where, timeout_s, fix)

    def _once(self, key: str, given: frozenset[str], where: str, value: float, fix: str) -> None:
        """One finding for a default, however many components it fails."""
        full = f"{where}.{key}" if given & {"interval_s", key} else f"defaults.{key}"
        if full not in self._said:
            self._said.add(full)
            self._findings.add(full, value, fix)


def _obstacle(kind: Kind, address: Url) -> str | None:
    """Why this kind of check cannot be asked of this URL; None when it can."""
    if kind is Kind.HTTP and address.scheme not in {"http", "https"}:
        return "http needs a URL that begins with http:// or https://"
    if kind is Kind.TLS and address.scheme not in {"https", "tls"}:
        return "tls needs a URL that begins with https:// or tls://"
    if kind is Kind.DNS and is_literal(address.host):
        return "dns needs a name, and the URL has an address"
    return None
