"""The page of one run, compared whole."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from probe.core.explain import AGAIN, Explained, Leaf, as_data, exit_code, policy_sentence, render
from probe.core.explaintarget import Asked, check_of
from probe.core.outcome import Attempt, Outcome, blank_row, not_run
from proto.model import (
    Failure,
    Operation,
    Reason,
    StampSource,
)

ALLOWED = (ipaddress.ip_network("198.18.0.0/15"), ipaddress.ip_network("127.0.0.0/8"))
CONFIG = (("timeout_s", "5"), ("resolvers", "192.0.2.53"))


def step(operation: Operation, **fields: Any) -> Attempt:
    """A good step of 1 ms by the kernel's clock."""
    given: dict[str, Any] = {
        "operation": operation,
        "address": "198.18.0.10",
        "elapsed_us": 1000,
        "stamp_source": StampSource.KERNEL,
        "failure": None,
        "classified_by": "row",
        **fields,
    }
    return Attempt(**given)


def page(target: str, *steps: Attempt, config: Any = CONFIG, **row: Any) -> Explained:
    """One measured run of this target."""
    check = check_of(Asked(target=target))
    made = replace(blank_row(check), **{"sent": 1, **row})
    outcome = Outcome(result=made, attempts=steps)
    return Explained(check=check, outcome=outcome, leaves=(), allowed=ALLOWED, config=config)


def barred(target: str, reason: Reason, why: str) -> Explained:
    """One run that did not take place."""
    check = check_of(Asked(target=target))
    outcome = not_run(check, reason=reason, why=why)
    return Explained(check=check, outcome=outcome, leaves=(), allowed=(), config=CONFIG)


EXPIRED = page(
    "https://x.test:8443/live",
    step(Operation.RESOLVE, address="192.0.2.53", elapsed_us=412, classified_by="rcode 0"),
    step(Operation.CONNECT, elapsed_us=20100, stamp_source=StampSource.TCP_INFO),
    step(
        Operation.TLS,
        elapsed_us=20400,
        failure=Failure.TLS_EXPIRED,
        classified_by="verify code 10: expired -> tls_expired",
        detail="certificate has expired",
    ),
    step(Operation.REQUEST, elapsed_us=None, stamp_source=None),
    step(Operation.REPLY, elapsed_us=1_200_345, detail="200, 5 bytes kept"),
    address="198.18.0.10",
    lost=1,
    operation=Operation.TLS,
    failure=Failure.TLS_EXPIRED,
    resolve_us=412,
    connect_us=20100,
    tls_us=20400,
    first_byte_us=11200,
    total_us=1_252_000,
    rtt_us_min=20100,
    rtt_us_median=20100,
    rtt_us_max=20100,
    stamp_source=StampSource.TCP_INFO,
    http_status=200,
    http_version="1.1",
    body_bytes=5,
    location="/x",
    edge="via:edge-7",
    cert_sha256="ab" * 32,
    cert_verify=10,
    tls_version="TLSv1.3",
    dns_rcode=0,
    dns_ttl_s=30,
    answers="198.18.0.10 198.18.0.11",
)

EXPIRED_PAGE = """\
https://x.test:8443/live  (http over IPv4 at 198.18.0.10:8443)
FAILED: tls_expired at tls
  resolve 0.412 ms, connect 20.100 ms, tls 20.400 ms, first byte 11.200 ms, total 1.252 s
  round trip 20.100 ms (clock: tcp_info)
  dns rcode 0, TTL 30 s: 198.18.0.10 198.18.0.11
  HTTP/1.1 200, 5 bytes of body, location /x, edge via:edge-7
  TLSv1.3, certificate not good (verify code 10), sha256 abababababababab…

steps
  1  resolve     0.412 ms  kernel    good               192.0.2.53
     rcode 0
  2  connect    20.100 ms  tcp_info  good               198.18.0.10
     row
  3  tls        20.400 ms  kernel    tls_expired        198.18.0.10
     verify code 10: expired -> tls_expired (certificate has expired)
  4  request                         good               198.18.0.10
     row
  5  reply        1.200 s  kernel    good               198.18.0.10
     row (200, 5 bytes kept)

policy   198.18.0.10 is benchmarking: allowed by 198.18.0.0/15 of allow_networks
config
  timeout_s = 5
  resolvers = 192.0.2.53
"""


LEAF = Leaf(
    sha256="ab" * 32,
    names=("x.test", "y.test", "z.test", "192.0.2.1"),
    issuer="CN=A\x1b[31m",
    valid_from=datetime(2026, 11, 1, tzinfo=UTC),
    valid_until=datetime(2026, 11, 20, 12, 30, tzinfo=UTC),
)


SIGNED = "; by CN=A\\x1b[31m; valid 2026-11-01 00:00 to 2026-11-20 12:30 UTC"


@pytest.mark.parametrize(
    ("leaf", "line"),
    [
        (LEAF, f"made out to x.test, y.test, z.test and 1 more{SIGNED}"),
        (replace(LEAF, names=()), f"made out to nobody{SIGNED}"),
        (Leaf(sha256="ab" * 32), "that certificate cannot be read"),
    ],
)
def test_certificate_line(leaf: Leaf, line: str) -> None:
    """Whose it is, from whom and for how long, without letting a stranger drive the terminal."""
    page_shown = render(replace(EXPIRED, leaves=(leaf,)), with_steps=False)
    assert page_shown.splitlines()[-1] == f"  {line}"


def test_second_look_is_announced() -> None:
    """The connection after a bad certificate is told apart from the one that decided."""
    steps = (
        step(Operation.TLS, failure=Failure.TLS_EXPIRED),
        step(Operation.CONNECT),
        step(Operation.TLS),
        step(Operation.CONNECT),
    )
    lines = render(page("https://x.test", *steps), with_steps=True).splitlines()
    assert lines.count(AGAIN) == 1
    assert lines[lines.index(AGAIN) + 1].startswith("  2  connect")


def test_whole_page() -> None:
    """Every step has its time, its clock, its word and the row that decided."""
    assert render(EXPIRED, with_steps=True) == EXPIRED_PAGE


def test_head_of_the_page() -> None:
    """Without steps the page is its head."""
    assert (
        render(EXPIRED, with_steps=False) == EXPIRED_PAGE.split("\n\nsteps", maxsplit=1)[0] + "\n"
    )


def test_partial_loss() -> None:
    """A run that lost some packets is good and says how many."""
    got = page(
        "icmp://x.test",
        address="198.18.0.10",
        sent=3,
        lost=1,
        rtt_us_min=50,
        rtt_us_median=60,
        rtt_us_max=80,
    )
    assert render(got, with_steps=False) == (
        "icmp://x.test  (icmp over IPv4 at 198.18.0.10)\n"
        "good, 1 of 3 lost\n"
        "  round trip 0.060 ms, 0.050 ms to 0.080 ms, 2 of 3\n"
    )


def test_failure_without_an_operation_or_times() -> None:
    """What is not known is not shown."""
    got = page("tls://[2001:db8::1]", address="2001:db8::1", failure=Failure.UNKNOWN)
    assert render(got, with_steps=False) == (
        "tls://[2001:db8::1]  (tls over IPv6 at [2001:db8::1]:443)\nFAILED: unknown\n"
    )


def test_good_certificate_and_empty_answer() -> None:
    """A verified certificate says so; an answer without records says that."""
    got = page("tls://x.test", cert_verify=0, dns_rcode=3)
    assert render(got, with_steps=False) == (
        "tls://x.test  (tls over IPv4)\n"
        "good\n"
        "  dns rcode 3: no answers\n"
        "  TLS, certificate verified\n"
    )


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("aa rd ra ad", "dns flags aa rd ra ad, over UDP"),
        ("rd ra tcp", "dns flags rd ra, over TCP"),
        ("", "dns flags none, over UDP"),
    ],
)
def test_how_a_dns_reply_came(flags: str, line: str) -> None:
    """The flags as dig prints them, and the transport; a reply may have none set."""
    shown = render(page("dns://x.test", dns_rcode=0, dns_flags=flags), with_steps=False)
    assert shown.splitlines()[-1] == f"  {line}"


def test_a_zones_server_is_judged_by_the_policy() -> None:
    """It is a stranger's, unlike the vantage's own resolver."""
    check = check_of(Asked(target="dns://x.test", authoritative=True))
    row = replace(blank_row(check), address="198.18.0.53")
    outcome = Outcome(result=row, attempts=())
    asked = Explained(check=check, outcome=outcome, leaves=(), allowed=ALLOWED, config=CONFIG)
    assert policy_sentence(asked).startswith("198.18.0.53 is benchmarking: allowed by")


def test_not_run() -> None:
    """A run that did not take place says why and how to repair it, and shows no good step."""
    got = barred("icmp://x.test", Reason.UNSUPPORTED, "icmp: sysctl -w ...")
    assert render(got, with_steps=False) == (
        "icmp://x.test  (icmp over IPv4)\nnot run: unsupported\n  icmp: sysctl -w ...\n"
    )
    assert " good " not in render(got, with_steps=True)


@pytest.mark.parametrize(
    ("explained", "sentence"),
    [
        (page("x.test", address="8.8.8.8"), "8.8.8.8 is public: allowed"),
        (page("x.test"), "no address to judge"),
        (page("x.test", address="strange"), "strange is public: allowed"),
        (
            page("dns://x.test", address="10.0.0.53"),
            "10.0.0.53 is this vantage's own resolver: allowed",
        ),
        (
            page("dns://x.test?server=127.0.0.1", address="127.0.0.1"),
            "127.0.0.1 is loopback: allowed by 127.0.0.0/8 of allow_networks",
        ),
        (barred("x.test", Reason.POLICY, "10.0.0.1 is private"), "barred: 10.0.0.1 is private"),
    ],
)
def test_policy(explained: Explained, sentence: str) -> None:
    """The policy's decision is said with its ground."""
    assert policy_sentence(explained) == sentence


def test_exit_codes() -> None:
    """Good is 0, failed is 1, not run is 9, the worst of several counts."""
    good = page("x.test").outcome
    failed = page("x.test", failure=Failure.TIMEOUT).outcome
    left_out = barred("x.test", Reason.POLICY, "").outcome
    assert [exit_code(runs) for runs in ([good], [good, failed], [failed, left_out])] == [0, 1, 9]


def test_data() -> None:
    """The data hold the same as the page, in the vocabulary, without what is not known."""
    leaves = (LEAF, Leaf(sha256="cd" * 32))
    data = json.loads(json.dumps(as_data(replace(EXPIRED, leaves=leaves))))
    assert data["target"] == "https://x.test:8443/live"
    assert data["check"]["use_tls"] is True
    assert data["result"]["failure"] == "tls_expired"
    assert "router" not in data["result"]
    assert data["attempts"][2] == {
        "operation": "tls",
        "address": "198.18.0.10",
        "elapsed_us": 20400,
        "stamp_source": "kernel",
        "failure": "tls_expired",
        "classified_by": "verify code 10: expired -> tls_expired",
        "detail": "certificate has expired",
    }
    assert data["certificates"] == [
        {
            "sha256": "ab" * 32,
            "names": ["x.test", "y.test", "z.test", "192.0.2.1"],
            "issuer": "CN=A\x1b[31m",
            "valid_from": "2026-11-01T00:00:00+00:00",
            "valid_until": "2026-11-20T12:30:00+00:00",
        },
        {"sha256": "cd" * 32, "names": []},
    ]
    assert data["config"] == dict(CONFIG)
    assert data["policy"].startswith("198.18.0.10 is benchmarking")


def test_a_known_page_over_http2_is_named() -> None:
    """Who looks at a challenge is told so, and in which version of HTTP it came."""
    shown = page(
        "https://x.test",
        http_status=403,
        http_version="2",
        body_bytes=9,
        edge="a:b",
        page="challenge",
    )
    text = render(shown, with_steps=False)
    assert "  HTTP/2 403, 9 bytes of body, edge a:b, a known challenge page\n" in text


def test_a_certificate_under_a_neutral_name_is_not_judged() -> None:
    """The page shows whose it is and claims nothing of it; without one there is no line."""
    for leaf, is_shown in (("ab" * 32, True), (None, False)):
        shown = page("tls://x.test", tls_version="TLSv1.3", cert_sha256=leaf)
        text = render(shown, with_steps=False)
        assert ("TLSv1.3, certificate not judged, sha256 abababababababab…" in text) is is_shown
