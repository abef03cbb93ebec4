"""Where a redirect leads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.httpfacts import Reply, why_not_asked
from probe.core.redirect import leads_on, redirect_check, way_on
from proto.model import Check, Control, Kind


def check(**changes: object) -> Check:
    """An https check of x.test with some fields set."""
    fields: dict[str, object] = {"host": "x.test", "use_tls": True, **changes}
    return Check(check_no=1, check_id="c", kind=Kind.HTTP, **fields)  # type: ignore[arg-type] # tests name real fields


def reply(status: int = 200, **headers: str) -> Reply:
    """A complete reply."""
    return Reply(status=status, version="1.1", headers=tuple(headers.items()), complete=True)


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
    ("sent", "asked"),
    [
        ("/café?q=ü".encode(), "/caf%C3%A9?q=%C3%BC"),
        (b"/caf\xe9", "/caf%C3%A9"),
        (b"/a b", "/a%20b"),
        (b"/a%20b", "/a%20b"),
    ],
)
def test_a_redirect_is_followed_as_browsers_do(sent: bytes, asked: str) -> None:
    """What is not ASCII is sent by number; what was sent by number already stays as it is."""
    hop = redirect_check(check(follow_redirects=1), sent.decode("latin-1"))
    assert hop.path == asked
    assert why_not_asked(hop) is None


def test_redirect_of_a_check_under_another_name() -> None:
    """Sent to the name that it said, it stays with its host; sent elsewhere, it says that name."""
    asked = check(follow_redirects=1, sni="other.test", port=8443)
    for location in ("/c", "https://OTHER.test/c"):
        stayed = redirect_check(asked, location)
        assert (stayed.host, stayed.sni, stayed.path) == ("x.test", "other.test", "/c")
    gone = redirect_check(asked, "https://y.test/c")
    assert (gone.host, gone.sni) == ("y.test", None)
    assert redirect_check(asked, "https://x.test/c").sni is None


@pytest.mark.parametrize("control", [None, Control.REMEMBERED])
@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("ftp://x.test/", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("javascript:alert(1)", "scheme 'javascript'"),
        ("http:///a", "without a host"),
        ("https://:8443/", "without a host"),
        ("https://u:p@x.test/", "credentials"),
        ("https://@x.test/", "credentials"),
        ("https://x.test:99999/", "range"),
        ("https://x.test:0/", "port 0"),
        ("https://x.test:-1/", "Port"),
        ("https://x.test:http/", "Port"),
        ("https://[::1/", "Invalid IPv6"),
        ("https://[fe80::1%25eth0]/", "neither a name nor an address"),
        ("https://a%2eb.test/", "neither a name nor an address"),
        ("https://./", "no name"),
        ("https://a..test/", "no name"),
        ("https://.test/", "no name"),
        (f"https://{'a' * 64}.test/", "no name"),
        (f"https://{'a.' * 127}test/", "longer than 253"),
        ("https://a b.test/", "no name"),
        ("https://a\\b.test/", "no name"),
        ("https://a_b\x7f.test/", "no name"),
        (f"https://{'ü' * 64}.test/", "no name"),
        ("https://\u202e.test/", "no name"),
        ("https://a\u06271.test/", "no name"),
        ("https://x.test:\u0661/", "Port"),
    ],
)
def test_redirect_that_leads_nowhere(control: Control | None, location: str, text: str) -> None:
    """What nobody's http check could go to is the server's doing: it is said, not tried."""
    sent = location.encode().decode("latin-1")  # as readers of HTTP hand headers over
    asked = check(follow_redirects=1, control=control)
    way = way_on(asked, reply(302, location=sent), hops_before=0)
    assert isinstance(way, str)
    assert text in way


@pytest.mark.parametrize("location", ["/" + "a" * 2048, "https://" + "a." * 127 + "test/"])
def test_redirects_are_bounded_before_they_are_read(location: str) -> None:
    """No header of a stranger's keeps the loop busy: a long one is refused by its length."""
    found = way_on(check(follow_redirects=1), reply(302, location=location), hops_before=0)
    assert isinstance(found, str)
    assert found.endswith(
        ("redirect of 2049 characters, beyond 2048", "it is longer than 253 characters")
    )


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


def test_under_a_neutral_name_no_redirect_is_followed() -> None:
    """The control asks whether something answers, and something did."""
    asked = check(control=Control.NEUTRAL_SNI, sni="n.test", follow_redirects=3)
    moved = reply(302, location="https://y.test/")
    assert way_on(asked, moved, hops_before=0) is None
    assert not leads_on(asked, moved, hops_before=0)


@given(st.text(max_size=60))
def test_no_location_breaks_the_redirect(location: str) -> None:
    """Whatever a server calls a location is a check to make, or a reason against it."""
    way = way_on(check(follow_redirects=1), reply(302, location=location), hops_before=0)
    assert isinstance(way, Check | str)
    if isinstance(way, Check):
        assert why_not_asked(way) is None
