from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.classify import (
    DNS,
    NETWORK,
    TLS,
    DnsFacts,
    NetworkFacts,
    TlsFacts,
    classify_dns,
    classify_network,
    classify_tls,
    describe_network,
)
from probe.core.outcome import IcmpError
from proto.model import Failure, Operation

ASKED, ROUTER, OWN = "198.51.100.7", "203.0.113.1", "192.0.2.9"


def facts(
    number: int | None, icmp: tuple[int, int, int] | None = None, **more: object
) -> NetworkFacts:
    """A connect to ASKED that failed; `icmp` is (family, type, code) from ROUTER."""
    given_: dict[str, object] = {"operation": Operation.CONNECT, "asked": ASKED, "own": OWN, **more}
    router = given_.pop("router", ROUTER)
    error = None
    if icmp is not None:
        error = IcmpError(
            family=icmp[0], icmp_type=icmp[1], icmp_code=icmp[2], router=router, errno=number or 0
        )
    return NetworkFacts(errno=number, icmp=error, **given_)


NETWORK_CASES = [
    (facts(errno.ECONNREFUSED), Failure.REFUSED, "a closed port"),
    (facts(errno.ECONNREFUSED, (4, 3, 3)), Failure.REJECTED, "a firewall's reject"),
    (facts(errno.ECONNREFUSED, (4, 3, 3), router=ASKED), Failure.REJECTED, "the host's own reject"),
    (facts(errno.ECONNREFUSED, (6, 1, 4)), Failure.REJECTED, "the same over IPv6"),
    (
        facts(errno.ECONNREFUSED, (4, 3, 3), router=ASKED, datagram=True),
        Failure.REFUSED,
        "a closed UDP port says so by ICMP",
    ),
    (
        facts(errno.ECONNREFUSED, (4, 3, 3), datagram=True),
        Failure.REJECTED,
        "a firewall speaks for a UDP port",
    ),
    (facts(errno.ENOPROTOOPT, (4, 3, 2)), Failure.REJECTED, "protocol unreachable"),
    (facts(errno.ENOPROTOOPT), Failure.REJECTED, "protocol unreachable, ICMP lost"),
    (facts(errno.EHOSTUNREACH, (4, 3, 13)), Failure.PROHIBITED, "filtered"),
    (facts(errno.ENETUNREACH, (4, 3, 9)), Failure.PROHIBITED, "net prohibited"),
    (facts(errno.EHOSTUNREACH, (4, 3, 10)), Failure.PROHIBITED, "host prohibited"),
    (facts(errno.EACCES, (6, 1, 1)), Failure.PROHIBITED, "filtered, IPv6: EACCES is not ours"),
    (facts(errno.EACCES, (6, 1, 6)), Failure.PROHIBITED, "reject route"),
    (facts(errno.EACCES), Failure.LOCAL_DENIED, "EACCES alone is ours"),
    (facts(errno.EPERM, immediate=True), Failure.LOCAL_DENIED, "a local firewall's drop"),
    (facts(errno.EHOSTUNREACH, (4, 11, 0)), Failure.TTL_EXCEEDED, "a loop"),
    (facts(errno.EHOSTUNREACH, (6, 3, 0)), Failure.TTL_EXCEEDED, "a loop, IPv6"),
    (facts(errno.EHOSTUNREACH, (4, 11, 1)), Failure.UNKNOWN, "reassembly time is no loop"),
    (facts(errno.EHOSTUNREACH, (4, 3, 1)), Failure.HOST_UNREACHABLE, "a router's host unreachable"),
    (facts(errno.EHOSTUNREACH, (4, 3, 1), router=OWN), Failure.HOST_UNREACHABLE, "ARP failed"),
    (facts(errno.EHOSTUNREACH, (6, 1, 3)), Failure.HOST_UNREACHABLE, "ND failed"),
    (
        facts(errno.EHOSTUNREACH, (4, 3, 1), router=OWN, gateway=ROUTER),
        Failure.LOCAL_NO_ROUTE,
        "ARP failed for our gateway: says nothing of the target",
    ),
    (
        facts(errno.EHOSTUNREACH, (4, 3, 1), gateway=ROUTER),
        Failure.HOST_UNREACHABLE,
        "the gateway says that the host is unreachable",
    ),
    (facts(errno.EHOSTUNREACH), Failure.HOST_UNREACHABLE, "late, ICMP lost"),
    (
        facts(errno.EHOSTUNREACH, immediate=True),
        Failure.LOCAL_NO_ROUTE,
        "an unreachable route here",
    ),
    (facts(errno.ENETUNREACH, (4, 3, 0)), Failure.NET_UNREACHABLE, "a router has no route"),
    (facts(errno.ENETUNREACH, (6, 1, 0)), Failure.NET_UNREACHABLE, "the same, IPv6"),
    (facts(errno.ENETUNREACH), Failure.NET_UNREACHABLE, "late, ICMP lost"),
    (facts(errno.ENETUNREACH, immediate=True), Failure.LOCAL_NO_ROUTE, "no route here"),
    (facts(errno.EINVAL, immediate=True), Failure.LOCAL_NO_ROUTE, "a blackhole route here"),
    (facts(errno.EINVAL), Failure.UNKNOWN, "EINVAL later is no route"),
    (facts(errno.ENETDOWN), Failure.LOCAL_NO_ROUTE, "our link went down"),
    (facts(errno.EADDRNOTAVAIL, immediate=True), Failure.LOCAL_NO_PORT, "out of ports"),
    (facts(errno.ENOBUFS, immediate=True), Failure.LOCAL_NO_BUFFER, "a local queue is full"),
    (facts(errno.EAGAIN, immediate=True), Failure.LOCAL_NO_BUFFER, "send buffer full"),
    (facts(errno.EMFILE, immediate=True), Failure.LOCAL_NO_BUFFER, "out of descriptors"),
    (facts(errno.EAFNOSUPPORT, immediate=True), Failure.LOCAL_NO_FAMILY, "no IPv6"),
    (facts(errno.ECONNRESET), Failure.RESET, "reset"),
    (facts(errno.EPIPE), Failure.RESET, "reset, noticed by a write"),
    (facts(errno.ETIMEDOUT), Failure.TIMEOUT, "the kernel gave up"),
    (facts(None), Failure.TIMEOUT, "silence"),
    (facts(None, overdue=True), Failure.LOCAL_OVERLOAD, "no time was left to ask in"),
    (facts(errno.ECONNREFUSED, overdue=True), Failure.REFUSED, "an answer counts nevertheless"),
    (facts(None, operation=Operation.RESOLVE), Failure.DNS_TIMEOUT, "a silent resolver"),
    (facts(errno.EPROTO, (4, 12, 0)), Failure.UNKNOWN, "parameter problem"),
    (facts(errno.EXDEV), Failure.UNKNOWN, "an errno of no network"),
]


@pytest.mark.parametrize(("given_", "word", "why"), NETWORK_CASES)
def test_network_failures_get_their_word(given_: NetworkFacts, word: Failure, why: str) -> None:
    """Errno, ICMP error, its sender and the moment together decide."""
    decided = classify_network(given_)
    assert decided.failure is word
    assert decided.sentence.endswith(f"-> {word.value}")


@given(
    number=st.none() | st.sampled_from(sorted(errno.errorcode)),
    icmp=st.none() | st.tuples(st.sampled_from([4, 6]), st.integers(0, 255), st.integers(0, 255)),
    operation=st.sampled_from(list(Operation)),
    immediate=st.booleans(),
    datagram=st.booleans(),
)
def test_every_failure_is_classified(
    number: int | None,
    icmp: tuple[int, int, int] | None,
    operation: Operation,
    immediate: bool,
    datagram: bool,
) -> None:
    """No combination of facts escapes the table, and an ICMP error never makes a failure local."""
    found = facts(number, icmp, operation=operation, immediate=immediate, datagram=datagram)
    decided = classify_network(found)
    assert not (icmp is not None and decided.failure.is_local)
    assert describe_network(found)


@pytest.mark.parametrize("row", NETWORK, ids=lambda row: row.sentence)
def test_every_network_row_decides_something(row: object) -> None:
    """A row that no case reaches would be hidden by an earlier one."""
    chosen = {
        next(candidate.sentence for candidate in NETWORK if candidate.applies(case))
        for case, _, _ in NETWORK_CASES
    }
    assert row.sentence in chosen


def test_a_description_names_errno_and_router() -> None:
    """People read which errno it was, and who sent which ICMP error."""
    found = facts(errno.EHOSTUNREACH, (4, 3, 13))
    assert describe_network(found) == "EHOSTUNREACH, ICMPv4 3/13 from 203.0.113.1"
    assert describe_network(facts(None)) == "no answer"
    assert describe_network(facts(errno.EPERM, immediate=True)) == "EPERM from the call itself"


DNS_CASES = [
    (DnsFacts(malformed="label too long", rcode=0), Failure.DNS_MALFORMED),
    (DnsFacts(rcode=1), Failure.DNS_MALFORMED),
    (DnsFacts(rcode=2), Failure.DNS_SERVFAIL),
    (DnsFacts(rcode=3), Failure.DNS_NXDOMAIN),
    (DnsFacts(rcode=4), Failure.DNS_REFUSED),
    (DnsFacts(rcode=5), Failure.DNS_REFUSED),
    (DnsFacts(rcode=9), Failure.DNS_REFUSED),
    (DnsFacts(rcode=16), Failure.UNKNOWN),
    (DnsFacts(rcode=0), Failure.DNS_NODATA),
    (DnsFacts(rcode=0, usable=1, outside=("10.0.0.1",)), Failure.DNS_MISMATCH),
]


@pytest.mark.parametrize(("given_", "word"), DNS_CASES)
def test_dns_replies_get_their_word(given_: DnsFacts, word: Failure) -> None:
    """Rcode and shape of a reply decide, in this order."""
    decided = classify_dns(given_)
    assert decided is not None
    assert decided.failure is word


def test_a_good_dns_reply_has_no_failure() -> None:
    """An answer of the type asked for, inside what is expected, is good."""
    assert classify_dns(DnsFacts(rcode=0, usable=2)) is None


def test_every_dns_row_decides_something() -> None:
    """A row that no case reaches would be hidden by an earlier one."""
    chosen = {next(row for row in DNS if row.applies(case)).sentence for case, _ in DNS_CASES}
    assert chosen == {row.sentence for row in DNS}


TLS_CASES = [
    (TlsFacts(verify_code=10, reason="CERTIFICATE_VERIFY_FAILED"), Failure.TLS_EXPIRED),
    (TlsFacts(verify_code=9), Failure.TLS_NOT_YET_VALID),
    (TlsFacts(verify_code=62), Failure.TLS_NAME_MISMATCH),
    (TlsFacts(verify_code=64), Failure.TLS_NAME_MISMATCH),
    (TlsFacts(verify_code=18), Failure.TLS_UNTRUSTED),
    (TlsFacts(verify_code=20), Failure.TLS_UNTRUSTED),
    (TlsFacts(verify_code=23), Failure.TLS_UNTRUSTED),
    (TlsFacts(reason="TLSV1_ALERT_INTERNAL_ERROR"), Failure.TLS_ALERT),
    (TlsFacts(reason="SSLV3_ALERT_HANDSHAKE_FAILURE"), Failure.TLS_ALERT),
    (TlsFacts(reason="TLSV1_UNRECOGNIZED_NAME"), Failure.TLS_ALERT),
    (TlsFacts(reason="TLSV1_ALERT_PROTOCOL_VERSION"), Failure.TLS_PROTOCOL),
    (TlsFacts(reason="WRONG_VERSION_NUMBER"), Failure.TLS_PROTOCOL),
    (TlsFacts(reason="UNSUPPORTED_PROTOCOL", verify_code=0), Failure.TLS_PROTOCOL),
    (TlsFacts(closed=True, reason="UNEXPECTED_EOF_WHILE_READING"), Failure.TLS_PROTOCOL),
    (TlsFacts(), Failure.UNKNOWN),
]


@pytest.mark.parametrize(("given_", "word"), TLS_CASES)
def test_tls_failures_get_their_word(given_: TlsFacts, word: Failure) -> None:
    """Our verdict on the certificate comes before the peer's alert, that before the rest."""
    assert classify_tls(given_).failure is word


def test_every_tls_row_decides_something() -> None:
    """A row that no case reaches would be hidden by an earlier one."""
    chosen = {next(row for row in TLS if row.applies(case)).sentence for case, _ in TLS_CASES}
    assert chosen == {row.sentence for row in TLS}
