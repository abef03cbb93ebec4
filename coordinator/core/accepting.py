"""What single values of `soundings.toml` must look like, each with the fix that its finding names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from coordinator.core.reading import Accept, UnfitError
from coordinator.core.settings import Address, Url, is_literal

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_DNS_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_PORTS: Final = {"http": 80, "https": 443, "tcp": None, "tls": None}
TEXT_MAX: Final = 400
"""Characters of a free text: titles, bodies to expect, contacts."""


def name(value: object) -> str:
    """A stable name: it stands in check ids, rows and URLs."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise UnfitError("use 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit")


def text(value: object) -> str:
    """A short printable text."""
    if isinstance(value, str) and len(value) <= TEXT_MAX and value.isprintable():
        return value
    raise UnfitError(f"give a printable text of at most {TEXT_MAX} characters")


def number(low: float, high: float, unit: str) -> Accept:
    """A number of some unit between two bounds, both included."""

    def accept(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnfitError(f"give a number of {unit} between {low:g} and {high:g}")
        if not low <= value <= high:
            raise UnfitError(f"it must be between {low:g} and {high:g} {unit}")
        return value

    return accept


def whole(low: int, high: int, unit: str) -> Accept:
    """A whole number of some unit between two bounds, both included."""

    def accept(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise UnfitError(f"give a whole number of {unit} between {low} and {high}")
        if not low <= value <= high:
            raise UnfitError(f"it must be between {low} and {high} {unit}")
        return value

    return accept


def one_of(words: Collection[str]) -> Accept:
    """One of a closed list of words."""

    def accept(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise UnfitError(f"use one of {', '.join(words)}")

    return accept


def list_of(accept_one: Accept, *, at_least: int = 0) -> Accept:
    """A list whose members are each accepted, without repetition."""

    def accept(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) < at_least:
            raise UnfitError(f"give a list of at least {at_least} values in [ ]")
        members = tuple(accept_one(member) for member in value)
        if len(set(members)) < len(members):
            raise UnfitError("name each value once")
        return members

    return accept


def yes_or_no(value: object) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise UnfitError("use true or false")


def hash_prefix(value: object) -> str:
    """The first hex digits of a SHA-256, at least eight of them."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8,64}", value):
        return value
    raise UnfitError("give 8 to 64 hex digits in lower case, as sha256sum prints them")


def labels(value: object) -> dict[str, str]:
    """A table of short texts."""
    if isinstance(value, dict) and all(isinstance(v, str) and v for v in value.values()):
        return {name(key): text(v) for key, v in value.items()}
    raise UnfitError('give a table of texts, such as { tier = "hosting" }')


def network(value: object) -> str:
    """A prefix, with no bit set outside it."""
    try:
        return str(ipaddress.ip_network(value)) if isinstance(value, str) else _no_network()
    except ValueError as error:
        raise UnfitError("give a prefix such as 198.51.100.0/24, host bits zero") from error


def _no_network() -> str:
    raise ValueError


def literal(value: object) -> str:
    """An address literal."""
    try:
        if isinstance(value, str):
            return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    raise UnfitError("give an address such as 198.51.100.7 or 2001:db8::7")


def as_number(value: object) -> int:
    """The number of an AS."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4_294_967_295:
        return value
    raise UnfitError("give the number of an AS, 1 to 4294967295")


def country(value: object) -> str:
    """ISO 3166-1 alpha-2."""
    if isinstance(value, str) and re.fullmatch(r"[A-Z]{2}", value):
        return value
    raise UnfitError("give two capital letters such as DE")


def family(value: object) -> int:
    """4 or 6."""
    if value in {4, 6} and not isinstance(value, bool | float):
        return 4 if value == 4 else 6
    raise UnfitError("use 4, 6 or both")


def door(value: object) -> Address:
    """Where to listen: HOST:PORT, an IPv6 literal in brackets; port 0 takes any free one."""
    fix = 'give "HOST:PORT" with a port from 0 to 65535, such as "0.0.0.0:7443" or "[::]:7443"'
    if not isinstance(value, str):
        raise UnfitError(fix)
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not (colon and bare and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise UnfitError(fix)
    if (":" in bare) != bracketed or not is_server(bare):
        raise UnfitError(fix)
    return Address(bare, int(port))


def door_or_none(value: object) -> Address | None:
    """Where to listen, or the empty text for not at all."""
    return None if value == "" else door(value)


def server_name(value: object) -> str:
    """A name or address by which probes reach the coordinator."""
    if isinstance(value, str) and is_server(value):
        return value
    raise UnfitError("give a DNS name or an address, without a port")


def is_server(value: str) -> bool:
    """Is this an address literal or a name that DNS could hold?"""
    return is_literal(value) or bool(_DNS_NAME.fullmatch(value) and len(value) <= 253)


def url(value: object) -> Url:
    """A component's URL: http, https, tcp or tls; no credentials, no fragment."""
    fix = 'give a URL such as "https://api.example.org/status" or "tcp://example.org:5222"'
    if not isinstance(value, str):
        raise UnfitError(fix)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise UnfitError(f"{fix}; {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or not is_server(parts.hostname):
        raise UnfitError(fix)
    if parts.username is not None or parts.fragment:
        raise UnfitError("leave out credentials and #fragment: probes fetch what anybody may see")
    port = _PORTS[parts.scheme] if port is None else port
    if not port:
        raise UnfitError(f"name the port, such as {parts.scheme}://{parts.hostname}:443")
    return Url(parts.scheme, parts.hostname, port, _path(parts))


def _path(parts: SplitResult) -> str:
    path = parts.path or "/"
    if not path.isascii() or not path.isprintable() or " " in path + parts.query:
        raise UnfitError("percent-encode the path: only printable ASCII without spaces is sent")
    return f"{path}?{parts.query}" if parts.query else path
