"""probe.toml: what the operator of a vantage point decides. Every finding at once.

resolvers = ["192.0.2.53"]         # empty = /etc/resolv.conf
allow_networks = ["10.0.0.0/8"]    # what the address policy would refuse
ca_file = "/etc/ssl/extra.pem"     # trust these authorities instead of the system's
source_address = "192.0.2.7"       # send from here
user = "soundings-probe"           # started as root: become this user once all is open
tx_stamps = false                  # true: echo requests are stamped as they leave, too
clock_offset_s = 0.0               # drills: shifts the wall clock of this process only
[limits]
checks_per_s = 50.0
per_target_per_minute = 60.0
concurrent = 200
concurrent_https = 64
outstanding_icmp = 5000
[spool]
cap_mib = 256.0
evict = "oldest"                   # or "thin"
[link]
backoff_base_s = 2.0
backoff_cap_s = 60.0
reply_deadline_s = 10.0
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from probe.core import backoff
from probe.core.spool import Eviction
from probe.io.disk import SpoolSettings
from probe.io.session import REPLY_DEADLINE_S
from proto.model import ConfigError, HostLimits

CLOCK_OFFSET_MAX_S: Final = 10 * 366 * 86400.0
SPOOL_CAP_MIN_MIB: Final = 1 / 16
"""A spool below 64 KiB would evict whole minutes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Section `[link]`."""

    backoff_base_s: float = backoff.BASE_S
    backoff_cap_s: float = backoff.CAP_S
    reply_deadline_s: float = REPLY_DEADLINE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of probe.toml, with its defaults."""

    resolvers: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    ca_file: str | None = None
    source_address: str | None = None
    user: str | None = None
    tx_stamps: bool = False
    clock_offset_s: float = 0.0
    limits: HostLimits = field(default_factory=HostLimits)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    link: LinkSettings = field(default_factory=LinkSettings)


def load_settings(path: Path, *, required: bool) -> Settings:
    """Read probe.toml; a file that is not there means defaults unless it was asked for.

    Raises ConfigError with every finding as `FILE: KEY is VALUE; FIX`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError((f"{path}: the file does not exist; name another",)) from None
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((f"{path}: it cannot be read ({error}); repair the file",)) from error
    return parse_settings(text, name=str(path))


def parse_settings(text: str, *, name: str) -> Settings:
    """Settings from the text of a file called `name`. Raises ConfigError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{name}: it is not TOML: {error}; repair that line",)) from error
    reader = _Reader(name)
    settings = _settings(reader, tables)
    if reader.findings:
        raise ConfigError(tuple(reader.findings))
    return settings


def _settings(reader: _Reader, tables: Mapping[str, Any]) -> Settings:
    top = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    limits = reader.section(tables, "limits", _LIMITS)
    spool = reader.section(tables, "spool", _SPOOL)
    link = reader.section(tables, "link", _LINK)
    known = reader.values(top, _TOP, prefix="")
    reader.no_other_sections(tables, {"limits", "spool", "link"})
    if link.get("backoff_cap_s", backoff.CAP_S) < link.get("backoff_base_s", backoff.BASE_S):
        reader.find("link.backoff_cap_s", link.get("backoff_cap_s"), "make it at least the base")
    return Settings(
        **known, limits=HostLimits(**limits), spool=_spool(spool), link=LinkSettings(**link)
    )


def _spool(values: dict[str, Any]) -> SpoolSettings:
    made: dict[str, Any] = {}
    if "cap_mib" in values:
        made["cap_bytes"] = round(values["cap_mib"] * (1 << 20))
    if "evict" in values:
        made["evict"] = Eviction(values["evict"])
    return SpoolSettings(**made)


# --- one rule per key: a function that returns the value or None, and the sentence that repairs ---

_Rule = tuple[Callable[[Any], Any], str]


def _number(low: float, high: float) -> _Rule:
    def check(value: Any) -> float | None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if good and low <= value <= high else None

    return check, f"give a number from {low:g} to {high:g}"


def _count(low: int, high: int) -> _Rule:
    def check(value: Any) -> int | None:
        good = isinstance(value, int) and not isinstance(value, bool)
        return int(value) if good and low <= value <= high else None

    return check, f"give a whole number from {low} to {high}"


def _word(*words: str) -> _Rule:
    return (
        lambda value: value if value in words else None,
        "give one of " + ", ".join(f'"{word}"' for word in words),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(valid: Callable[[str], bool], fix: str) -> _Rule:
    def check(value: Any) -> tuple[str, ...] | None:
        good = isinstance(value, list) and all(isinstance(v, str) and valid(v) for v in value)
        return tuple(value) if good else None

    return check, fix


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_resolver(text: str) -> bool:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    with_port = port.isdecimal() and 0 < int(port) < 65536
    return _is_address(text) or (
        with_port and _is_address(host[1:-1] if bracketed else host) and bracketed == (":" in host)
    )


def _address(value: Any) -> str | None:
    return value if isinstance(value, str) and _is_address(value) else None


_TOP: Final[Mapping[str, _Rule]] = {
    "resolvers": _texts(_is_resolver, 'give a list of addresses, such as ["192.0.2.53"]'),
    "allow_networks": _texts(
        _is_network, 'give a list of networks without host bits, such as ["10.0.0.0/8"]'
    ),
    "ca_file": (_text, "give the path of a PEM file"),
    "user": (_text, "give the name of a user of this machine"),
    "source_address": (_address, 'give one address of this machine, such as "192.0.2.7"'),
    "tx_stamps": (_switch, "give true or false"),
    "clock_offset_s": _number(-CLOCK_OFFSET_MAX_S, CLOCK_OFFSET_MAX_S),
}
_LIMITS: Final[Mapping[str, _Rule]] = {
    "checks_per_s": _number(0.1, 10_000),
    "per_target_per_minute": _number(0.1, 60_000),
    "concurrent": _count(1, 10_000),
    "concurrent_https": _count(1, 10_000),
    "outstanding_icmp": _count(1, 65_535),
}
_SPOOL: Final[Mapping[str, _Rule]] = {
    "cap_mib": _number(SPOOL_CAP_MIN_MIB, 1 << 20),
    "evict": _word(*(way.value for way in Eviction)),
}
_LINK: Final[Mapping[str, _Rule]] = {
    "backoff_base_s": _number(0.01, 3600),
    "backoff_cap_s": _number(0.01, 3600),
    "reply_deadline_s": _number(0.1, 600),
}


class _Reader:
    """Collects findings while values are read."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.findings: list[str] = []

    def find(self, key: str, value: Any, fix: str) -> None:
        """One thing that is wrong."""
        self.findings.append(f"{self._name}: {key} is {value!r}; {fix}")

    def section(
        self, tables: Mapping[str, Any], name: str, rules: Mapping[str, _Rule]
    ) -> dict[str, Any]:
        """The good values of one table."""
        table = tables.get(name, {})
        if not isinstance(table, dict):
            return {}  # it is reported as a key that nobody knows
        return self.values(table, rules, prefix=f"{name}.")

    def values(
        self, table: Mapping[str, Any], rules: Mapping[str, _Rule], *, prefix: str
    ) -> dict[str, Any]:
        """The good values of one table; a bad or unknown one becomes a finding."""
        good: dict[str, Any] = {}
        for key, value in table.items():
            if key not in rules:
                self.find(f"{prefix}{key}", value, f"known keys are {', '.join(rules)}")
                continue
            check, fix = rules[key]
            checked = check(value)
            if checked is None:
                self.find(f"{prefix}{key}", value, fix)
            else:
                good[key] = checked
        return good

    def no_other_sections(self, tables: Mapping[str, Any], known: set[str]) -> None:
        """A misspelt section would silently mean defaults."""
        for key, value in tables.items():
            if isinstance(value, dict) and key not in known:
                self.find(f"[{key}]", "unknown", f"known sections are {', '.join(sorted(known))}")
