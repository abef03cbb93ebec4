"""How a step failed: one table per layer, most specific row first, generic rows last, no guesses.

An errno alone misleads. A closed port and a firewall's `reject` both say ECONNREFUSED, a filtered
IPv6 path says EACCES as a local permission problem does, and a packet that looped says EHOSTUNREACH
as a dead machine does. What tells them apart is whether an ICMP error came with it, from whom, and
whether the call itself failed (nothing left this machine) or the answer came later. So the facts
of one failure are gathered first, in a value, and the first row that fits decides. The row's
sentence is what `--explain` shows. What no row knows is `unknown` with its text, never the nearest
word.

HTTP replies are judged in `probe.core.httpfacts`, by the same rules.

Sources: RFC 792 and RFC 1812 section 5.2.7.1 (types 3 and 11), RFC 4443 (ICMPv6), Linux
`icmp_err_convert`, `tcp(7)`, `ip(7)`; RFC 8446 section 6 (alerts); X509_V_ERR_* of OpenSSL's
x509_vfy.h; RFC 1035 and 6895 (rcodes).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from probe.core.outcome import IcmpError
from proto.model import Failure, Operation

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Classified:
    """The word, and the row that chose it."""

    failure: Failure
    sentence: str


@dataclass(frozen=True, slots=True)
class Row(Generic[Facts]):
    """One line of a table: when it applies, the word, and the sentence that people read."""

    applies: Callable[[Facts], bool]
    failure: Failure
    sentence: str


def _first(rows: Iterable[Row[Facts]], facts: Facts) -> Classified:
    row = next(row for row in rows if row.applies(facts))
    return Classified(row.failure, f"{row.sentence} -> {row.failure.value}")


# --- Network: errno and ICMP ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """All that is known of one packet or connection that failed."""

    operation: Operation
    errno: int | None  # None: nothing came before the deadline
    icmp: IcmpError | None = None
    asked: str | None = None  # the address contacted
    own: str | None = None  # our address on that way, where known
    gateway: str | None = None  # the next hop, where `asked` is not on a link of ours
    immediate: bool = False  # the call itself failed: nothing left this machine
    overdue: bool = False  # the time was over before anything could leave
    datagram: bool = False  # a UDP exchange, where an ICMP port unreachable is how a host says no


_Test = Callable[[NetworkFacts], bool]


def _icmp(*shapes: tuple[int, int, int]) -> _Test:
    """An ICMP error of one of these (family, type, code)."""

    def applies(facts: NetworkFacts) -> bool:
        found = facts.icmp
        return found is not None and (found.family, found.icmp_type, found.icmp_code) in shapes

    return applies


def _errno(*numbers: int) -> _Test:
    """One of these errnos and no ICMP error that would say more."""
    return lambda facts: facts.icmp is None and facts.errno in numbers


def _at_once(*numbers: int) -> _Test:
    """One of these errnos from the call itself."""
    return lambda facts: facts.immediate and _errno(*numbers)(facts)


def _all(*tests: _Test) -> _Test:
    return lambda facts: all(test(facts) for test in tests)


def _from_asked(facts: NetworkFacts) -> bool:
    return facts.icmp is not None and facts.icmp.router == facts.asked


def _from_ourselves(facts: NetworkFacts) -> bool:
    return facts.icmp is not None and facts.own is not None and facts.icmp.router == facts.own


def _has_gateway(facts: NetworkFacts) -> bool:
    return facts.gateway is not None


def _is_datagram(facts: NetworkFacts) -> bool:
    return facts.datagram


_PORT_UNREACHABLE = _icmp((4, 3, 3), (6, 1, 4))
_HOST_UNREACHABLE = _icmp((4, 3, 1), (4, 3, 7), (4, 3, 8), (4, 3, 12), (6, 1, 3))

NETWORK: Final[tuple[Row[NetworkFacts], ...]] = (
    Row(
        _all(_PORT_UNREACHABLE, _is_datagram, _from_asked),
        Failure.REFUSED,
        "ICMP port unreachable from the address asked, for UDP",
    ),
    Row(_PORT_UNREACHABLE, Failure.REJECTED, "ICMP port unreachable"),
    Row(_icmp((4, 3, 2), (6, 4, 1)), Failure.REJECTED, "ICMP protocol unreachable"),
    Row(
        _icmp((4, 3, 9), (4, 3, 10), (4, 3, 13), (6, 1, 1), (6, 1, 5), (6, 1, 6)),
        Failure.PROHIBITED,
        "ICMP administratively prohibited",
    ),
    Row(_icmp((4, 11, 0), (6, 3, 0)), Failure.TTL_EXCEEDED, "ICMP TTL exceeded in transit"),
    Row(
        _all(_HOST_UNREACHABLE, _from_ourselves, _has_gateway),
        Failure.LOCAL_NO_ROUTE,
        "ICMP host unreachable from our own address: our gateway does not answer ARP or ND",
    ),
    Row(
        _all(_HOST_UNREACHABLE, _from_ourselves),
        Failure.HOST_UNREACHABLE,
        "ICMP host unreachable from our own address: the target does not answer ARP or ND",
    ),
    Row(_HOST_UNREACHABLE, Failure.HOST_UNREACHABLE, "ICMP host unreachable"),
    Row(
        _icmp((4, 3, 0), (4, 3, 6), (4, 3, 11), (6, 1, 0), (6, 1, 2)),
        Failure.NET_UNREACHABLE,
        "ICMP network unreachable",
    ),
    Row(
        lambda facts: facts.icmp is not None,
        Failure.UNKNOWN,
        "ICMP error of a type and code that no row knows",
    ),
    Row(
        _all(lambda facts: facts.errno is None, lambda facts: facts.overdue),
        Failure.LOCAL_OVERLOAD,
        "this machine stood still until there was no time left to ask in",
    ),
    Row(
        _all(lambda facts: facts.errno is None, lambda facts: facts.operation is Operation.RESOLVE),
        Failure.DNS_TIMEOUT,
        "no answer from the resolver before the deadline",
    ),
    Row(lambda facts: facts.errno is None, Failure.TIMEOUT, "no answer before the deadline"),
    Row(
        _at_once(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENODEV),
        Failure.LOCAL_NO_ROUTE,
        "the call failed for want of a route or a link, nothing was sent",
    ),
    Row(
        _at_once(errno.EINVAL),
        Failure.LOCAL_NO_ROUTE,
        "the call failed with EINVAL: a blackhole route on this machine",
    ),
    Row(_errno(errno.ENETDOWN), Failure.LOCAL_NO_ROUTE, "errno ENETDOWN: our own link is down"),
    Row(
        _errno(errno.EACCES, errno.EPERM),
        Failure.LOCAL_DENIED,
        "errno EACCES or EPERM without ICMP: this machine forbids it",
    ),
    Row(
        _errno(errno.EADDRNOTAVAIL, errno.EADDRINUSE),
        Failure.LOCAL_NO_PORT,
        "errno EADDRNOTAVAIL or EADDRINUSE: no local port or address to send from",
    ),
    Row(
        _errno(
            *(errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EMFILE, errno.ENFILE)
        ),
        Failure.LOCAL_NO_BUFFER,
        "errno ENOBUFS, ENOMEM, EAGAIN, EBUSY, EMFILE or ENFILE: this machine is out of something",
    ),
    Row(
        _errno(errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT),
        Failure.LOCAL_NO_FAMILY,
        "errno EAFNOSUPPORT or EPROTONOSUPPORT: this machine lacks the address family",
    ),
    Row(_errno(errno.ECONNREFUSED), Failure.REFUSED, "errno ECONNREFUSED without ICMP"),
    Row(
        _errno(errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED),
        Failure.RESET,
        "errno ECONNRESET, EPIPE or ECONNABORTED",
    ),
    Row(_errno(errno.ETIMEDOUT), Failure.TIMEOUT, "errno ETIMEDOUT: the kernel gave up"),
    Row(_errno(errno.ENETUNREACH), Failure.NET_UNREACHABLE, "errno ENETUNREACH, ICMP not seen"),
    Row(_errno(errno.EHOSTUNREACH), Failure.HOST_UNREACHABLE, "errno EHOSTUNREACH, ICMP not seen"),
    Row(_errno(errno.ENOPROTOOPT), Failure.REJECTED, "errno ENOPROTOOPT: protocol unreachable"),
    Row(lambda _: True, Failure.UNKNOWN, "errno that no row knows"),
)


def classify_network(facts: NetworkFacts) -> Classified:
    """The word for a packet, connection or transfer that failed below the application."""
    return _first(NETWORK, facts)


def describe_network(facts: NetworkFacts) -> str:
    """The facts in one line for people: errno by name, ICMP with its sender."""
    name = "no answer" if facts.errno is None else errno.errorcode.get(facts.errno, "errno ?")
    at_once = " from the call itself" if facts.immediate else ""
    return f"{name}{at_once}" + ("" if facts.icmp is None else f", {facts.icmp}")


# --- DNS ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsFacts:
    """A reply that belongs to the query. `usable` counts records of the type asked."""

    malformed: str | None = None  # why the reply cannot be read
    rcode: int | None = None
    usable: int = 0
    outside: tuple[str, ...] = ()  # addresses that the check does not expect, bogons included


DNS: Final[tuple[Row[DnsFacts], ...]] = (
    Row(lambda facts: facts.malformed is not None, Failure.DNS_MALFORMED, "reply cannot be read"),
    Row(lambda facts: facts.rcode == 3, Failure.DNS_NXDOMAIN, "rcode 3 NXDOMAIN"),
    Row(lambda facts: facts.rcode == 2, Failure.DNS_SERVFAIL, "rcode 2 SERVFAIL"),
    Row(lambda facts: facts.rcode == 5, Failure.DNS_REFUSED, "rcode 5 REFUSED"),
    Row(lambda facts: facts.rcode == 4, Failure.DNS_REFUSED, "rcode 4 NOTIMP"),
    Row(lambda facts: facts.rcode == 9, Failure.DNS_REFUSED, "rcode 9 NOTAUTH"),
    Row(
        lambda facts: facts.rcode == 1,
        Failure.DNS_MALFORMED,
        "rcode 1 FORMERR: the server cannot read a plain query",
    ),
    Row(lambda facts: facts.rcode != 0, Failure.UNKNOWN, "rcode that no row knows"),
    Row(lambda facts: facts.usable == 0, Failure.DNS_NODATA, "rcode 0, no record of this type"),
    Row(
        lambda facts: bool(facts.outside),
        Failure.DNS_MISMATCH,
        "an address lies outside what the check expects or cannot be public",
    ),
)


def classify_dns(facts: DnsFacts) -> Classified | None:
    """The word for a reply; None when the reply is good."""
    if any(row.applies(facts) for row in DNS):
        return _first(DNS, facts)
    return None


# --- TLS ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFacts:
    """What the TLS library says of a handshake that failed, unwrapped into plain values."""

    verify_code: int | None = None  # X509_V_ERR_*
    reason: str | None = None  # OpenSSL's reason, as "TLSV1_ALERT_INTERNAL_ERROR"
    closed: bool = False  # the peer closed before the handshake was done


# An alert received carries ALERT in its reason, but for these, which RFC 6066 added.
_ALERTS_BY_ANOTHER_NAME = frozenset(
    {
        "TLSV1_UNRECOGNIZED_NAME",
        "TLSV1_UNSUPPORTED_EXTENSION",
        "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
        "TLSV1_BAD_CERTIFICATE_HASH_VALUE",
        "TLSV1_CERTIFICATE_UNOBTAINABLE",
    }
)


def alert_name(reason: str) -> str | None:
    """The alert that the peer sent, by its name of RFC 8446 section 6; None: it sent none."""
    if reason in _ALERTS_BY_ANOTHER_NAME:
        return reason.removeprefix("TLSV1_").lower()
    _, alert, name = reason.partition("_ALERT_")
    return name.lower() if alert else None


def _is_alert(facts: TlsFacts) -> bool:
    return alert_name(facts.reason or "") is not None


TLS: Final[tuple[Row[TlsFacts], ...]] = (
    Row(lambda facts: facts.verify_code == 10, Failure.TLS_EXPIRED, "verify code 10: expired"),
    Row(
        lambda facts: facts.verify_code == 9,
        Failure.TLS_NOT_YET_VALID,
        "verify code 9: not yet valid",
    ),
    Row(
        lambda facts: facts.verify_code in {62, 64},
        Failure.TLS_NAME_MISMATCH,
        "verify code 62 or 64: made out to another name or address",
    ),
    Row(
        lambda facts: facts.verify_code is not None and facts.verify_code != 0,
        Failure.TLS_UNTRUSTED,
        "verify code: no trusted authority vouches for it",
    ),
    Row(
        lambda facts: alert_name(facts.reason or "") == "protocol_version",
        Failure.TLS_PROTOCOL,
        "alert protocol_version: the peer speaks no version of TLS that is still in use",
    ),
    Row(_is_alert, Failure.TLS_ALERT, "the peer sent a fatal alert"),
    Row(
        lambda facts: facts.closed,
        Failure.TLS_PROTOCOL,
        "closed before the handshake was done, without an alert",
    ),
    Row(
        lambda facts: facts.reason is not None,
        Failure.TLS_PROTOCOL,
        "what came back is not the TLS that was asked for",
    ),
    Row(lambda _: True, Failure.UNKNOWN, "TLS failed in a way that no row knows"),
)


def classify_tls(facts: TlsFacts) -> Classified:
    """The word for a handshake that failed above TCP."""
    return _first(TLS, facts)
