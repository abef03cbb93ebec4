"""What a reply means for a check."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core import httpfacts
from probe.core.httpfacts import (
    HttpFacts,
    Reply,
    authority_of,
    body_sha256,
    classify_http,
    describe_reply,
    edge_of,
    location_of,
    redirect_check,
    url_of,
    user_agent_of,
    way_on,
    why_not_asked,
)
from proto.model import Check, Failure, Kind


def check(**changes: object) -> Check:
    """An https check of x.test with some fields set."""
    fields: dict[str, object] = {"host": "x.test", "use_tls": True, **changes}
    return Check(check_no=1, check_id="c", kind=Kind.HTTP, **fields)  # type: ignore[arg-type] # tests name real fields


def reply(status: int = 200, body: bytes = b"ok", **headers: str) -> Reply:
    """A complete reply; header names are written with underscores."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status=status, version="1.1", headers=named, body=body, complete=True)


def word(asked: Check, got: Reply, **facts: str) -> Failure | None:
    """The failure word of one exchange."""
    found = classify_http(HttpFacts(check=asked, reply=got, **facts))
    return None if found is None else found.failure


def test_good_replies() -> None:
    """Any expected status is good, with the expected text if one is expected."""
    assert word(check(), reply()) is None
    assert word(check(expect_status=(503, 418)), reply(418)) is None
    assert word(check(expect_body="über"), reply(body="siehe über uns".encode())) is None


def test_capped_reply_is_good() -> None:
    """Our own cap is no failure of the platform's."""
    assert word(check(), Reply(status=200, version="1.1", body=b"a", capped=True)) is None


@pytest.mark.parametrize(
    ("asked", "got", "expected"),
    [
        (check(), Reply(), Failure.HTTP_TRUNCATED),
        (check(), Reply(status=200, version="1.1"), Failure.HTTP_TRUNCATED),
        (check(), Reply(status=503, version="1.1"), Failure.HTTP_STATUS),
        (check(), reply(302, location="/"), Failure.HTTP_STATUS),
        (check(expect_status=()), reply(), Failure.HTTP_STATUS),
        (check(expect_body="alive"), reply(), Failure.HTTP_CONTENT),
    ],
)
def test_bad_replies(asked: Check, got: Reply, expected: Failure) -> None:
    """Each way of not being what was expected has its word, a bad status before a cut body."""
    assert expected is word(asked, got)


def test_malformed_and_barred_redirects() -> None:
    """What is not HTTP, and a redirect that leads nowhere, stand before everything else."""
    assert word(check(), Reply(), malformed="x") is Failure.HTTP_MALFORMED
    assert word(check(), reply(302), no_way_on="x") is Failure.HTTP_REDIRECT


def test_classification_names_its_row() -> None:
    """The sentence of the row ends in the word."""
    found = classify_http(HttpFacts(check=check(), reply=reply(503)))
    assert found is not None
    assert found.sentence == "a status that the check does not expect -> http_status"


def test_reply_in_words() -> None:
    """People read status, size, cap, place and complaint in one line."""
    moved = Reply(status=302, version="1.1", headers=(("location", "/x"),), body=b"ab", capped=True)
    facts = HttpFacts(check=check(), reply=moved, no_way_on="redirect number 3 is one too many")
    assert (
        describe_reply(facts)
        == "302, 2 bytes kept, body capped, to /x, redirect number 3 is one too many"
    )
    assert describe_reply(HttpFacts(check=check(), reply=Reply())) == "no reply"


def test_body_fingerprint() -> None:
    """The fingerprint is SHA-256 of the kept bytes."""
    assert body_sha256(reply(body=b"")).startswith("e3b0c442")


def test_location_is_kept_short_and_printable() -> None:
    """Only a redirect has a location, and strangers do not write control characters to our rows."""
    assert location_of(reply(200, location="/a")) is None
    assert location_of(reply(302)) is None
    assert location_of(reply(308, location="/a\x1b b")) == "/a??b"
    assert len(location_of(reply(302, location="/" * 9999)) or "") == 512


@pytest.mark.parametrize(
    ("asked", "authority"),
    [
        (check(), "x.test"),
        (check(port=443), "x.test"),
        (check(port=8443), "x.test:8443"),
        (check(use_tls=False), "x.test"),
        (check(use_tls=False, port=443), "x.test:443"),
        (check(host="2001:db8::1", port=8443), "[2001:db8::1]:8443"),
        (check(host="Bücher.Test."), "xn--bcher-kva.test"),
    ],
)
def test_host_field(asked: Check, authority: str) -> None:
    """The usual port is left out, literals get brackets, names become ASCII."""
    assert authority == authority_of(asked)


def test_url() -> None:
    """The URL of a check names scheme, authority and path."""
    assert url_of(check(use_tls=False, port=8080, path="/a?b")) == "http://x.test:8080/a?b"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (check(method="DELETE"), "method 'DELETE'"),
        (check(path="/a b"), "path '/a b'"),
        (check(path="/a\r\nHost: b"), "path"),
        (check(path="a"), "path 'a'"),
        (check(host="a b"), "host 'a b'"),
        (check(host="x" * 64 + ".test"), "host"),
        (check(host=""), "host ''"),
    ],
)
def test_checks_that_are_not_asked(asked: Check, text: str) -> None:
    """A hostile plan cannot make a probe write what is no plain request."""
    assert text in (why_not_asked(asked) or "")


def test_ordinary_checks_are_asked() -> None:
    """Names, underscores and literals of both families pass."""
    for host in ("x.test", "_a.x.test", "192.0.2.1", "2001:db8::1"):
        assert why_not_asked(check(host=host)) is None


def test_user_agent_is_made_safe() -> None:
    """No line ends, no more than a line, never empty."""
    assert user_agent_of("probe/1 (+https://x.test)") == "probe/1 (+https://x.test)"
    assert user_agent_of("a\r\nCookie: b") == "a??Cookie: b"
    assert user_agent_of("  ") == "soundings-probe"
    assert len(user_agent_of("a" * 1000)) == 200


def test_redirect_to_another_place() -> None:
    """The next hop keeps the question and loses the pin."""
    asked = check(follow_redirects=2, pinned="192.0.2.1", expect_body="ok", path="/a/b")
    way = way_on(asked, reply(302, location="http://Y.test:8080/c?d#e"), hops_before=0)
    assert way == check(
        host="y.test", port=8080, use_tls=False, path="/c?d", follow_redirects=1, expect_body="ok"
    )


def test_redirect_relative() -> None:
    """A relative location is joined with the URL that was asked."""
    asked = check(follow_redirects=1, path="/a/b")
    assert redirect_check(asked, "../c").path == "/c"
    assert redirect_check(asked, "//y.test").host == "y.test"
    assert redirect_check(asked, "?q").path == "/a/b?q"


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("ftp://x.test/", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("http:///a", "without a host"),
        ("https://u:p@x.test/", "credentials"),
        ("https://x.test:99999/", "range"),
        ("https://[::1/", "Invalid IPv6"),
    ],
)
def test_redirect_that_leads_nowhere(location: str, text: str) -> None:
    """What no http check can go to is said, not tried."""
    way = way_on(check(follow_redirects=1), reply(302, location=location), hops_before=0)
    assert text in str(way)


def test_redirects_that_are_answers() -> None:
    """An expected 3xx, one that need not be followed, and no redirect at all end the chain."""
    moved = reply(302, location="/a")
    assert way_on(check(follow_redirects=1, expect_status=(302,)), moved, hops_before=0) is None
    assert way_on(check(), moved, hops_before=0) is None
    assert way_on(check(follow_redirects=1), reply(), hops_before=0) is None
    assert way_on(check(follow_redirects=1), reply(302), hops_before=0) is None


def test_one_redirect_too_many() -> None:
    """A chain longer than the check allows is a failure of the redirect."""
    way = way_on(check(), reply(301, location="/a"), hops_before=2)
    assert way == "redirect number 3 is one too many"


@pytest.mark.parametrize(
    ("headers", "edge"),
    [
        ({"cf_ray": "8f1a2b3c4d5e6f70-FRA", "server": "cloudflare"}, "cloudflare:FRA"),
        ({"x_amz_cf_pop": "FRA56-P3", "via": "1.1 a.cloudfront.net"}, "cloudfront:FRA56-P3"),
        (
            {"x_served_by": "cache-iad-kiad7000071-IAD, cache-fra-eddf8230100-FRA"},
            "fastly:FRA",
        ),
        ({"x_served_by": "web-17"}, "server:web-17"),
        ({"x_vercel_id": "fra1::iad1::abc"}, "vercel:fra1"),
        ({"fly_request_id": "01H-fra"}, "fly:fra"),
        ({"x_77_pop": "frankfurtDE"}, "cdn77:frankfurtDE"),
        ({"x_edge_location": "defr"}, "keycdn:defr"),
        ({"server": "BunnyCDN-DE1-1047"}, "bunny:DE1-1047"),
        ({"via": "1.1 varnish, 1.1 edge-7.test (Cache)"}, "via:edge-7.test"),
        ({"cf_ray": "noplace"}, None),
        ({"via": "1.1"}, None),
        ({"server": "nginx"}, None),
        ({"x_edge_location": ""}, None),
        ({}, None),
        ({"x_77_pop": "a\nb" + "c" * 99}, ("cdn77:a?b" + "c" * 99)[:64]),
    ],
)
def test_edges(headers: dict[str, str], edge: str | None) -> None:
    """Each delivery network names its place in its own header; without one there is no edge."""
    assert edge == edge_of(reply(**headers))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _, _ in httpfacts.EDGE_HEADERS]), st.text(max_size=30)
        ),
        max_size=4,
    )
)
def test_no_header_breaks_the_edge(headers: list[tuple[str, str]]) -> None:
    """Whatever strangers write, the edge is short and printable or unknown."""
    edge = edge_of(Reply(status=200, version="1.1", headers=tuple(headers)))
    assert edge is None or (len(edge) <= 64 and edge.isascii() and edge.isprintable())


@given(st.text(max_size=60))
def test_no_location_breaks_the_redirect(location: str) -> None:
    """Whatever a server calls a location is a check to make, or a reason against it."""
    way = way_on(check(follow_redirects=1), reply(302, location=location), hops_before=0)
    assert isinstance(way, Check | str)
