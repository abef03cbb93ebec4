"""Where a DNS server is: an address and a port, as people write them, and resolv.conf."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

# resolv.conf(5): the C library reads no more than three, neither do we.
RESOLVERS_MAX: Final = 3
_DNS_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address in canonical form, with a scope where link-local, and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        text = f"[{self.address}]" if ":" in self.address else self.address
        return text if self.port == _DNS_PORT else f"{text}:{self.port}"


def parse_endpoint(text: str, *, port: int = _DNS_PORT) -> Endpoint:
    """`ADDR`, `ADDR:PORT`, `V6`, `[V6]` or `[V6]:PORT`; `port` where the text names none.

    Raises:
        ValueError: it is none of these; the text says what is wrong and how to write it.
    """
    address, given = _split(text)
    try:
        canonical = str(ipaddress.ip_address(address))
        number = port if given is None else int(given) if given.isdecimal() else 0
    except ValueError:
        raise ValueError(
            f"{text!r} is no server; write it as 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:5353"
        ) from None
    if not 0 < number < 65536:
        raise ValueError(f"{text!r}: the port is not between 1 and 65535")
    return Endpoint(canonical, number)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return text, None
        return address, rest[1:] if rest else None
    address, colon, port = text.rpartition(":")
    if colon and ":" not in address:
        return address, port
    return text, None


def resolvers_in(resolv_conf: str) -> tuple[Endpoint, ...]:
    """The name servers of a resolv.conf; lines that name none are left out, as the C library does.

    Without any, the C library asks this machine itself: so do we.
    """
    found: list[Endpoint] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            found.append(Endpoint(str(ipaddress.ip_address(words[1])), _DNS_PORT))
        except ValueError:
            continue
    return tuple(found[:RESOLVERS_MAX]) or (Endpoint("127.0.0.1", _DNS_PORT),)
