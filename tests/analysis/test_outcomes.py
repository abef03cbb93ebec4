"""What the words of a row mean, channel by channel."""

from __future__ import annotations

import pytest

from analysis.core.outcomes import OUTCOMES, failure_outcome, unspecific
from proto.model import Failure, Kind, Operation

F, O = Failure, Operation  # noqa: E741 - the table below reads better so


def named(
    kind: Kind, operation: Operation | None, failure: Failure | None, status: int | None = None
) -> str | None:
    outcome = failure_outcome(kind, operation=operation, failure=failure, http_status=status)
    if outcome is None:
        return None
    return (*OUTCOMES[kind], "?")[outcome]


@pytest.mark.parametrize(
    ("kind", "operation", "failure", "http_status", "outcome"),
    [
        (Kind.ICMP, O.ECHO, F.TIMEOUT, None, "loss"),
        (Kind.ICMP, None, None, None, "loss"),
        (Kind.ICMP, O.ECHO, F.UNKNOWN, None, "loss"),
        (Kind.ICMP, O.ECHO, F.HOST_UNREACHABLE, None, "unreach"),
        (Kind.ICMP, O.RESOLVE, F.DNS_TIMEOUT, None, None),
        (Kind.TCP, O.CONNECT, F.TIMEOUT, None, "timeout"),
        (Kind.TCP, O.CONNECT, F.REFUSED, None, "rst"),
        (Kind.TCP, O.CONNECT, F.RESET, None, "rst"),
        (Kind.TCP, None, F.NET_UNREACHABLE, None, "unreach"),
        (Kind.TCP, O.RESOLVE, F.DNS_SERVFAIL, None, None),
        (Kind.TCP, O.CONNECT, F.TLS_ALERT, None, "?"),
        (Kind.TCP, None, None, None, "?"),
        (Kind.HTTP, O.RESOLVE, F.DNS_NXDOMAIN, None, "DNS_ERR"),
        (Kind.HTTP, None, F.DNS_TIMEOUT, None, "DNS_TMO"),
        (Kind.HTTP, O.RESOLVE, F.DNS_MISMATCH, None, "DNS_BOGUS"),
        (Kind.HTTP, O.CONNECT, F.TIMEOUT, None, "TCP_TMO"),
        (Kind.HTTP, None, F.REFUSED, None, "TCP_RST"),
        (Kind.HTTP, None, F.PROHIBITED, None, "TCP_UNR"),
        (Kind.HTTP, O.CONNECT, F.UNKNOWN, None, "?"),
        (Kind.HTTP, O.CONNECT, F.HTTP_CONTENT, None, "?"),
        (Kind.HTTP, None, F.TLS_EXPIRED, None, "TLS_CERT"),
        (Kind.HTTP, O.TLS, F.TIMEOUT, None, "TLS_TMO"),
        (Kind.HTTP, O.TLS, F.RESET, None, "TLS_RST"),
        (Kind.HTTP, O.REPLY, F.HTTP_STATUS, 503, "H5XX"),
        (Kind.HTTP, O.REPLY, F.HTTP_STATUS, 403, "H_BLOCK"),
        (Kind.HTTP, O.REPLY, F.HTTP_STATUS, 404, "H_DIFF"),
        (Kind.HTTP, O.REPLY, F.HTTP_STATUS, None, "H5XX"),
        (Kind.HTTP, None, F.HTTP_CONTENT, 200, "H_DIFF"),
        (Kind.HTTP, O.REPLY, F.TIMEOUT, None, "H_TMO"),
        (Kind.HTTP, O.REQUEST, F.RESET, None, "H5XX"),
        (Kind.HTTP, O.REPLY, F.HTTP_TRUNCATED, 200, "H5XX"),
        (Kind.TLS, None, F.TLS_UNTRUSTED, None, "TLS_CERT"),
        (Kind.TLS, None, F.TIMEOUT, None, "TLS_TMO"),
        (Kind.TLS, O.CONNECT, F.TIMEOUT, None, "TCP_TMO"),
        (Kind.DNS, O.RESOLVE, F.DNS_SERVFAIL, None, "err"),
        (Kind.DNS, O.RESOLVE, F.DNS_TIMEOUT, None, "timeout"),
        (Kind.DNS, None, F.REFUSED, None, "timeout"),
        (Kind.DNS, O.RESOLVE, F.DNS_MISMATCH, None, "bogus"),
    ],
)
def test_words_become_one_outcome(
    kind: Kind,
    operation: Operation | None,
    failure: Failure | None,
    http_status: int | None,
    outcome: str | None,
) -> None:
    """Each way to fail has its place in the channel's list, or none when nothing was attempted."""
    assert named(kind, operation, failure, http_status) == outcome


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("failure", [one for one in Failure if one.is_local])
def test_local_failures_never_count(kind: Kind, failure: Failure) -> None:
    """A local failure says nothing about any target, on any channel and at any step."""
    for operation in (None, *Operation):
        assert named(kind, operation, failure) is None


@pytest.mark.parametrize("kind", list(OUTCOMES))
def test_every_word_has_a_meaning(kind: Kind) -> None:
    """No combination of step and failure raises, and none reads as good or slow."""
    for failure in Failure:
        for operation in (None, *Operation):
            for status in (None, 200, 429, 500):
                outcome = failure_outcome(
                    kind, operation=operation, failure=failure, http_status=status
                )
                assert outcome is None or 2 <= outcome <= unspecific(kind)
