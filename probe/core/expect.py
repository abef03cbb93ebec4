"""Which answers of a name server a check expects; and whether a check can be run at all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

from probe.core.address import Network, is_inside, parse_address, special_use
from probe.core.dnswire import QTYPES, DnsFormError, parse_name
from probe.core.endpoint import Endpoint, parse_endpoint
from proto.model import Check, Kind

HTTP_VERSIONS: Final = ("1.1", "2")
_HASH: Final = re.compile(r"[0-9a-f]{1,64}")


def outside(check: Check, values: Sequence[str], *, allowed: Iterable[Network]) -> tuple[str, ...]:
    """The values that the check does not expect, in the reply's order.

    With `expect_answers`, an address must lie in one of these networks, and any other content must
    be one of these texts. Without, an address must be one that can be public: nobody publishes a
    loopback or private address for a service, but whoever forges answers does.
    """
    addresses = [(value, parse_address(value)) for value in values]
    if check.qtype not in {"A", "AAAA"}:
        texts = {text.rstrip(".").lower() for text in check.expect_answers}
        return tuple(value for value in values if texts and value.lower() not in texts)
    if check.expect_answers:
        networks = [ipaddress.ip_network(text) for text in check.expect_answers]
        return tuple(
            v for v, address in addresses if not (address and is_inside(address, networks))
        )
    fine = tuple(allowed)
    return tuple(
        value
        for value, address in addresses
        if address is None or (special_use(address) and not is_inside(address, fine))
    )


def server_of(check: Check) -> Endpoint | None:
    """The server that a dns check asks directly; None: the vantage's resolvers.

    Raises:
        ValueError: the check names none that can be asked.
    """
    if check.server is None:
        return None
    return parse_endpoint(check.server, port=53 if check.port is None else check.port)


def why_impossible(check: Check) -> str | None:
    """What in the check's own words makes it impossible to run, anywhere; None when nothing does.

    A plan is checked where it is made; it comes from another machine all the same.
    """
    if check.family not in {4, 6}:
        return f"family is {check.family}; it must be 4 or 6"
    if check.kind is Kind.TCP and check.port is None:
        return "a tcp check needs a port"
    if check.port is not None and not 0 < check.port < 65536:
        return f"port is {check.port}; it must lie between 1 and 65535"
    return _why_no_http(check) or _why_no_target(check)


def _why_no_target(check: Check) -> str | None:
    target = check.host if check.pinned is None else check.pinned
    literal = parse_address(target)
    if check.kind is not Kind.DNS and literal is not None and literal.version != check.family:
        return f"{target} is not an address of IPv{check.family}"
    if check.pinned is not None and literal is None:
        return f"pinned is {check.pinned!r}; it must be an address"
    return _why_not_asked(check) if literal is None or check.kind is Kind.DNS else None


def _why_no_http(check: Check) -> str | None:
    if check.kind not in {Kind.HTTP, Kind.TLS}:
        return None
    unknown = [version for version in check.http_versions if version not in HTTP_VERSIONS]
    if unknown or not check.http_versions:
        given = ", ".join(check.http_versions) or "empty"
        return f"http_versions is {given}; it must be some of {', '.join(HTTP_VERSIONS)}"
    if check.expect_sha256 is not None and not _HASH.fullmatch(check.expect_sha256):
        return f"expect_sha256 is {check.expect_sha256!r}; it must be hex in lower case"
    if check.method == "HEAD" and (check.expect_body, check.expect_sha256) != (None, None):
        return "a HEAD has no body for expect_body or expect_sha256; use method GET"
    return None


def _why_not_asked(check: Check) -> str | None:
    """Why the name of the check cannot be asked for as the check wants it."""
    try:
        parse_name(check.host)
        if check.kind is Kind.DNS:
            server_of(check)
            if check.qtype in {"A", "AAAA"}:
                for text in check.expect_answers:
                    ipaddress.ip_network(text)
    except DnsFormError as error:
        return f"host: {error}"
    except ValueError as error:
        return f"server or expect_answers: {error}"
    if check.kind is Kind.DNS and check.qtype not in QTYPES:
        return f"qtype is {check.qtype!r}; it must be one of {', '.join(QTYPES)}"
    return None
