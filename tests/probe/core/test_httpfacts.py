"""What a reply means for a check."""

from __future__ import annotations

import pytest

from probe.core.draft import Fault
from probe.core.httpfacts import (
    BREAKS,
    Break,
    Head,
    HttpFacts,
    Reply,
    authority_of,
    body_sha256,
    describe_reply,
    judge_http,
    location_of,
    url_of,
    user_agent_of,
    why_not_asked,
)
from proto.model import Check, Control, Failure, Kind, Operation


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
    found = judge_http(HttpFacts(check=asked, reply=got, **facts))  # type: ignore[arg-type] # tests name real fields
    return None if found is None else found.fault.failure


def test_good_replies() -> None:
    """Any expected status is good, with the expected text if one is expected."""
    assert word(check(), reply()) is None
    assert word(check(expect_status=(503, 418)), reply(418)) is None
    assert word(check(expect_body="über"), reply(body="siehe über uns".encode())) is None
    assert word(check(expect_body="ü*u"), reply(body="siehe über uns".encode())) is None
    assert word(check(expect_sha256="2689367b"), reply(body=b"ok")) is None


def test_under_a_neutral_name_every_reply_is_an_answer() -> None:
    """What the component's name would get does not matter to the control, only that it was answered."""
    asked = check(
        control=Control.NEUTRAL_SNI,
        sni="n.test",
        expect_body="x",
        expect_sha256="00",
        follow_redirects=3,
    )
    moved = reply(302, location="https://y.test/")
    assert word(asked, moved) is None
    assert word(asked, Reply()) is Failure.HTTP_TRUNCATED


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
        (check(expect_body="k*o"), reply(), Failure.HTTP_CONTENT),
        (check(expect_sha256="2689367b"), reply(body=b"OK"), Failure.HTTP_CONTENT),
    ],
)
def test_bad_replies(asked: Check, got: Reply, expected: Failure) -> None:
    """Each way of not being what was expected has its word, a bad status before a cut body."""
    assert expected is word(asked, got)


def test_barred_redirects() -> None:
    """A redirect that leads nowhere stands before its status and before a cut body."""
    assert word(check(), reply(302), no_way_on="x") is Failure.HTTP_REDIRECT
    assert word(check(), Reply(status=302), no_way_on="x") is Failure.HTTP_REDIRECT


HEADS = {
    Head.NONE: ({}, Reply()),
    Head.EXPECTED: ({}, Reply(status=200)),
    Head.UNEXPECTED: ({}, Reply(status=503)),
    Head.HOP: ({"is_hop": True}, Reply(status=302, headers=(("location", "/x"),))),
}
RESET = Fault(Failure.RESET, "reset by the peer -> reset")
ALERT = Fault(Failure.TLS_ALERT, "alert -> tls_alert")


@pytest.mark.parametrize(
    ("head", "broken", "failure"),
    [
        (Head.NONE, Break.MALFORMED, Failure.HTTP_MALFORMED),
        (Head.EXPECTED, Break.MALFORMED, Failure.HTTP_MALFORMED),
        (Head.UNEXPECTED, Break.MALFORMED, Failure.HTTP_STATUS),
        (Head.HOP, Break.MALFORMED, Failure.HTTP_MALFORMED),
        (Head.NONE, Break.CONNECTION, Failure.RESET),
        (Head.EXPECTED, Break.CONNECTION, Failure.RESET),
        (Head.UNEXPECTED, Break.CONNECTION, Failure.HTTP_STATUS),
        (Head.HOP, Break.CONNECTION, Failure.RESET),
    ],
)
def test_which_word_wins_when_a_reply_breaks_off(
    head: Head, broken: Break, failure: Failure
) -> None:
    """A bad status says more than how its text broke off; otherwise the break is the news."""
    fields, got = HEADS[head]
    ended = {"malformed": "chunk"} if broken is Break.MALFORMED else {"fault": RESET}
    judged = judge_http(HttpFacts(check=check(), reply=got, **fields, **ended))  # type: ignore[arg-type] # tests name real fields
    assert judged is not None
    assert (judged.operation, judged.fault.failure) == (Operation.REPLY, failure)
    assert judged.fault == RESET or judged.fault.classified_by.endswith(f" -> {failure.value}")


def test_every_break_is_decided() -> None:
    """There is no head and no way to break off for which the table has no row."""
    assert set(BREAKS) == {(head, broken) for head in Head for broken in Break}


def test_under_a_neutral_name_a_break_is_a_break() -> None:
    """There every status is expected."""
    neutral = check(control=Control.NEUTRAL_SNI)
    assert word(neutral, Reply(status=503), malformed="x") is Failure.HTTP_MALFORMED


@pytest.mark.parametrize(
    ("fault", "has_begun", "operation"),
    [
        (ALERT, False, Operation.TLS),
        (ALERT, True, Operation.REPLY),
        (RESET, False, Operation.REPLY),
    ],
)
def test_an_alert_instead_of_a_reply_is_a_late_no_to_the_handshake(
    fault: Fault, has_begun: bool, operation: Operation
) -> None:
    """In TLS 1.3 the server's verdict on a handshake may come where its first byte was due."""
    facts = HttpFacts(check=check(), reply=Reply(), fault=fault, has_begun=has_begun)
    judged = judge_http(facts)
    assert judged is not None
    assert (judged.operation, judged.fault) == (operation, fault)


def test_classification_names_its_row() -> None:
    """The sentence of the row ends in the word."""
    found = judge_http(HttpFacts(check=check(), reply=reply(503)))
    assert found is not None
    assert found.fault.classified_by == "a status that the check does not expect -> http_status"


def test_reply_in_words() -> None:
    """People read status, size, cap, place and complaint in one line."""
    moved = Reply(status=302, version="1.1", headers=(("location", "/x"),), body=b"ab", capped=True)
    facts = HttpFacts(check=check(), reply=moved, no_way_on="redirect number 3 is one too many")
    assert (
        describe_reply(facts)
        == "302, 2 bytes kept, body capped, to /x, redirect number 3 is one too many"
    )
    assert describe_reply(HttpFacts(check=check(), reply=Reply())) == "no reply"
    broken = Reply(status=503, version="2", body=b"abc")
    assert (
        describe_reply(HttpFacts(check=check(), reply=broken, malformed="a frame of 99 bytes"))
        == "503, 3 bytes kept, a frame of 99 bytes, expected status 200"
    )
    assert (
        describe_reply(HttpFacts(check=check(), reply=broken, fault=RESET))
        == "503, 3 bytes kept, then reset, expected status 200"
    )
    cut = Reply(cut_by="RST_STREAM CANCEL")
    assert describe_reply(HttpFacts(check=check(), reply=cut)) == "no reply, RST_STREAM CANCEL"


LONG = "0123456789" * 9


@pytest.mark.parametrize(
    ("asked", "got", "said"),
    [
        (check(), reply(503), "expected status 200"),
        (check(expect_status=(200, 204)), reply(500), "expected status 200 or 204"),
        (check(expect_status=()), reply(), "expected status none"),
        (check(expect_body="alive"), reply(), "expected 'alive', found 'ok'"),
        (check(expect_body="o*alive"), reply(), "expected 'alive' of 'o*alive', found 'ok'"),
        (check(expect_body="a"), reply(body=b""), "expected 'a', found no body"),
        (check(expect_body="a"), reply(body=b"\x1b[2J\xff"), "found '\\x1b[2J\ufffd'"),
        (check(expect_body=LONG), reply(body=b"x" * 99), f"'{LONG[:60]}'…, found '{'x' * 60}'…"),
        (check(expect_sha256="00ff"), reply(body=b""), "expected sha256 00ff, found e3b0c44298fc"),
    ],
)
def test_a_mismatch_names_what_was_expected_and_found(asked: Check, got: Reply, said: str) -> None:
    """Who reads the detail need not look up the check, and no stranger drives the terminal."""
    assert said in describe_reply(HttpFacts(check=asked, reply=got))


@pytest.mark.parametrize(
    ("coding", "said"),
    [
        ("gzip", " in content-encoding gzip, which was not asked for"),
        ("x" * 99 + "\x1b", f" in content-encoding {'x' * 20}, which was not asked for"),
        ("identity", ""),
        ("Identity", ""),
    ],
)
def test_a_coded_body_is_looked_at_as_it_came(coding: str, said: str) -> None:
    """Nothing is decoded, so a bomb stays small, and the detail says why the text is not there."""
    got = reply(body=b"\x1f\x8b", content_encoding=coding)
    for asked in (check(expect_body="ok"), check(expect_sha256="00")):
        words = describe_reply(HttpFacts(check=asked, reply=got))
        assert words.endswith(said)
        assert ("content-encoding" in words) == bool(said)


def test_a_cut_body_is_no_wrong_body() -> None:
    """Nothing is said of text that may just not have arrived."""
    cut = Reply(status=200, version="1.1", body=b"o")
    facts = HttpFacts(check=check(expect_body="ok"), reply=cut)
    assert describe_reply(facts) == "200, 1 bytes kept"
    assert describe_reply(HttpFacts(check=check(), reply=reply())) == "200, 2 bytes kept"


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
        (check(sni="Other.test", port=8443), "other.test:8443"),
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
        (check(sni="a b"), "sni 'a b'"),
        (check(sni=""), "sni ''"),
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
