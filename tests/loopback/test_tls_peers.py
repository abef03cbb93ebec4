"""Peers that end a handshake, want a certificate of ours, are very old, or are asked by another name."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio

from proto.model import Check, Control, Failure, Kind, Operation
from tests.fakes.scripted_server import Listening, answering, read_request, reset, response, serve
from tests.fakes.tls_authority import Authority, make_authority
from tests.fakes.web_checks import ask, web_check

OK = response("200 OK", b"ok")


@pytest.fixture(scope="module", name="authority")
def an_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the checks trust."""
    return make_authority(tmp_path_factory.mktemp("authority"))


def tls_check(port: int, **fields: Any) -> Check:
    """A check of x.test that stops after the handshake."""
    return web_check(Kind.TLS, port, **fields)


def https_check(port: int, **fields: Any) -> Check:
    """An https check of x.test."""
    return web_check(Kind.HTTP, port, use_tls=True, **fields)


def neutral(**fields: Any) -> dict[str, Any]:
    """What turns a check into the control under a neutral name."""
    return {"control": Control.NEUTRAL_SNI, "sni": "neutral.test", **fields}


ALERTS = {
    10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
    45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca",
    49: "access_denied", 50: "decode_error", 51: "decrypt_error", 71: "insufficient_security",
    80: "internal_error", 86: "inappropriate_fallback", 109: "missing_extension",
    110: "unsupported_extension", 112: "unrecognized_name", 113: "bad_certificate_status_response",
    115: "unknown_psk_identity", 116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip
"""The fatal alerts of RFC 8446 section 6 that a server may send."""


async def test_every_alert_has_its_name() -> None:
    """Each alert is a tls_alert, and the detail says which."""
    numbers = list(ALERTS)

    async def script(stream: trio.abc.Stream) -> None:
        number = numbers[server.connections - 1]
        await stream.receive_some(4096)
        await stream.send_all(bytes((0x15, 3, 3, 0, 2, 2, number)))
        await stream.aclose()

    async with serve(script) as server:
        for number in numbers:
            outcome = await ask(tls_check(server.port))
            row = outcome.result
            assert (row.operation, row.failure) == (Operation.TLS, Failure.TLS_ALERT), number
            assert outcome.attempts[-1].detail == f"alert {ALERTS[number]}"


async def test_a_server_of_tls_1_0_alone(authority: Authority) -> None:
    """A version that nobody should speak any more is tls_protocol, whether it says so or insists."""
    context = authority.leaf("x.test").context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1
    saying_so = bytes.fromhex("15030100020246")
    hello = bytes((2, 0, 0, 38, 3, 1)) + bytes(32) + bytes((0, 0, 0x2F, 0))
    insisting = bytes((0x16, 3, 1, 0, len(hello))) + hello
    for script in (_sending(saying_so), _sending(insisting)):
        async with serve(script) as server:
            row = (await ask(tls_check(server.port))).result
        assert (row.operation, row.failure) == (Operation.TLS, Failure.TLS_PROTOCOL)
        assert row.tls_version is None

    async def shake_hands(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.do_handshake()

    async with serve(shake_hands, context=context) as server:
        row = (await ask(tls_check(server.port))).result
    assert (row.operation, row.failure) == (Operation.TLS, Failure.TLS_PROTOCOL)


def _sending(content: bytes) -> Any:
    async def script(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(content)
        await stream.receive_some(4096)

    return script


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_would_like_a_certificate(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    """A request for a certificate of ours is answered with none; who can do without goes on."""
    context = authority.leaf("x.test").context(version=version)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority.ca_file)
    async with answering(OK, context=context) as server:
        row = (await ask(https_check(server.port), ca_file=str(authority.ca_file))).result
    assert (row.failure, row.http_status, row.cert_verify) == (None, 200, 0)


async def test_a_server_of_tls_1_2_that_insists_on_a_certificate(authority: Authority) -> None:
    """Under TLS 1.2 the refusal comes within the handshake."""
    context = authority.leaf("x.test").context(version=ssl.TLSVersion.TLSv1_2)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)

    async def refuse(stream: trio.abc.Stream) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send_all(outgoing.read())
                incoming.write(await stream.receive_some(16384))
            except ssl.SSLError:
                await stream.send_all(outgoing.read())
                return

    async with serve(refuse) as server:
        outcome = await ask(tls_check(server.port), ca_file=str(authority.ca_file))
    row = outcome.result
    assert (row.operation, row.failure) == (Operation.TLS, Failure.TLS_ALERT)
    assert outcome.attempts[-1].detail == "alert handshake_failure"


# --- Another name (control C8) -------------------------------------------------------------------


def _keeping_names(authority: Authority, name: str, seen: list[str | None]) -> ssl.SSLContext:
    context = authority.leaf(name).context()
    context.sni_callback = lambda _session, said, _context: seen.append(said)
    return context


async def test_another_name_is_said_and_verified(authority: Authority) -> None:
    """Without a control the other name takes the place of the host's: in SNI, Host, and the leaf."""
    said: list[str | None] = []
    context = _keeping_names(authority, "other.test", said)
    async with answering(OK, context=context) as server:
        check = https_check(server.port, sni="other.test")
        row = (await ask(check, ca_file=str(authority.ca_file))).result
    assert (row.failure, row.cert_verify, said) == (None, 0, ["other.test"])
    assert f"Host: other.test:{server.port}".encode() in server.requests[0]


@pytest.mark.parametrize("kind", [Kind.TLS, Kind.HTTP])
async def test_neutral_name(authority: Authority, tmp_path: Path, kind: Kind) -> None:
    """Whose certificate is shown, and by whom it is signed, is a fact and no failure of the control."""
    said: list[str | None] = []
    for signer in (authority, make_authority(tmp_path, "Nobodys Authority")):
        leaf = signer.leaf("x.test")
        context = leaf.context()
        context.sni_callback = lambda _session, name, _context: said.append(name)
        async with answering(response("421 Misdirected"), context=context) as server:
            check = web_check(kind, server.port, use_tls=True, **neutral(expect_body="nothing"))
            outcome = await ask(check, ca_file=str(authority.ca_file))
        row = outcome.result
        assert (row.failure, row.lost, row.tls_version) == (None, 0, "TLSv1.3")
        assert (row.cert_verify, row.cert_sha256) == (None, hashlib.sha256(leaf.der).hexdigest())
        assert row.http_status == (421 if kind is Kind.HTTP else None)
        assert server.connections == 1
    assert said == ["neutral.test"] * 2


async def test_neutral_name_that_is_not_answered() -> None:
    """The control fails as any handshake does: by alert, reset or silence."""

    async def reset_on_hello(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await reset(stream)

    for script, failure in (
        (_sending(bytes.fromhex("15030300020270")), Failure.TLS_ALERT),
        (reset_on_hello, Failure.RESET),
        (_sending(b""), Failure.TIMEOUT),
    ):
        async with serve(script) as server:
            check = tls_check(server.port, **neutral(timeout_s=0.5))
            row = (await ask(check)).result
        assert (row.operation, row.failure) == (Operation.TLS, failure)


async def test_neutral_hello_differs_by_its_name_alone(authority: Authority) -> None:
    """What else a censor could tell the control by is the same as in a user's handshake."""
    hellos: list[bytes] = []

    async def keep(stream: trio.abc.Stream) -> None:
        hellos.append(bytes(await stream.receive_some(4096)))

    async with serve(keep) as server:
        for fields in ({"sni": "neutral.test"}, neutral()):
            await ask(tls_check(server.port, **fields), ca_file=str(authority.ca_file))
    plain, control = (_without_chance(hello) for hello in hellos)
    assert plain == control


def _without_chance(hello: bytes) -> bytes:
    """A ClientHello without its random, session id and key share, which differ each time."""
    share = hello.rindex(b"\x00\x1d\x00\x20") + 4
    return hello[:11] + hello[76:share] + hello[share + 32 :]


async def test_redirect_under_another_name(authority: Authority) -> None:
    """A redirect to the name that was said stays with the host; no other name is resolved."""
    context = authority.leaf("other.test").context()
    seen = Listening()

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, seen)
        first = len(seen.requests) == 1
        moved = response("302 F", b"", f"Location: https://other.test:{server.port}/end")
        await stream.send_all(moved if first else OK)
        await stream.aclose()

    async with serve(script, context=context) as server:
        check = https_check(
            server.port, host="127.0.0.1", pinned=None, sni="other.test", follow_redirects=1
        )
        row = (await ask(check, ca_file=str(authority.ca_file))).result
    assert (row.failure, row.http_status) == (None, 200)
    assert seen.requests[1].startswith(b"GET /end ")
    assert f"Host: other.test:{server.port}".encode() in seen.requests[1]
