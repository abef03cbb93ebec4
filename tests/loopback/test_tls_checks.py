"""Certificates, good and bad, and handshakes that fail, against the standard library's TLS."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from probe.core.limits import Gate
from probe.toolbox import run_check
from proto.model import Check, ConfigError, Failure, HostLimits, Kind, Operation, Result, Validity
from tests.fakes.boxes import loopback_box
from tests.fakes.scripted_server import (
    Listening,
    answering,
    read_request,
    reset,
    response,
    serve,
    silent,
)
from tests.fakes.tls_authority import Authority, Leaf, make_authority
from tests.fakes.web_checks import ask, web_check

OK = response("200 OK", b"ok")


@pytest.fixture(name="authority")
def an_authority(tmp_path: Path) -> Authority:
    """The authority that the checks trust."""
    return make_authority(tmp_path)


def https_check(port: int, **fields: Any) -> Check:
    """An https check of x.test at the scripted server."""
    return web_check(Kind.HTTP, port, use_tls=True, **fields)


def tls_check(port: int, **fields: Any) -> Check:
    """A check of x.test that stops after the handshake."""
    return web_check(Kind.TLS, port, **fields)


def words(row: Result) -> tuple[Operation | None, Failure | None]:
    """Where and how the row failed."""
    return row.operation, row.failure


def bad_leaf(kind: str, authority: Authority, tmp_path: Path) -> Leaf:
    """A leaf that is bad in one way."""
    if kind == "expired":
        return authority.leaf("x.test", from_days=-9, to_days=-2)
    if kind == "not yet valid":
        return authority.leaf("x.test", from_days=2, to_days=9)
    if kind == "wrong name":
        return authority.leaf("y.test")
    if kind == "self-signed":
        return authority.self_signed("x.test")
    return make_authority(tmp_path, "Nobodys Authority").leaf("x.test")


async def handshake_only(stream: trio.abc.Stream) -> None:
    """Shake hands and wait for the client to leave."""
    assert isinstance(stream, trio.SSLStream)
    await stream.do_handshake()
    await stream.receive_some(1)


async def test_good_certificate(authority: Authority) -> None:
    """A verified handshake gives version, leaf, and its own time by the kernel's clock."""
    leaf = authority.leaf("x.test")
    async with answering(OK, context=leaf.context()) as server:
        outcome = await ask(https_check(server.port), ca_file=str(authority.ca_file))
    row = outcome.result
    assert words(row) == (None, None)
    assert (row.http_status, row.cert_verify, row.tls_version) == (200, 0, "TLSv1.3")
    assert row.cert_sha256 == hashlib.sha256(leaf.der).hexdigest()
    assert [certificate.der for certificate in outcome.certificates] == [leaf.der]
    assert row.tls_us is not None
    assert row.tls_us > 0
    assert [attempt.operation for attempt in outcome.attempts] == [
        Operation.CONNECT,
        Operation.TLS,
        Operation.REQUEST,
        Operation.REPLY,
    ]
    assert server.connections == 1
    assert f"Host: x.test:{server.port}".encode() in server.requests[0]


async def test_older_tls(authority: Authority) -> None:
    """TLS 1.2, with its two flights, is as good."""
    context = authority.leaf("x.test").context(version=ssl.TLSVersion.TLSv1_2)
    async with answering(OK, context=context) as server:
        row = (await ask(https_check(server.port), ca_file=str(authority.ca_file))).result
    assert (row.failure, row.tls_version) == (None, "TLSv1.2")


BAD = [
    ("expired", Failure.TLS_EXPIRED, 10),
    ("not yet valid", Failure.TLS_NOT_YET_VALID, 9),
    ("wrong name", Failure.TLS_NAME_MISMATCH, 62),
    ("self-signed", Failure.TLS_UNTRUSTED, 18),
    ("untrusted", Failure.TLS_UNTRUSTED, 20),
]


@pytest.mark.parametrize(("kind", "failure", "code"), BAD)
async def test_bad_certificate_over_http(
    authority: Authority, tmp_path: Path, kind: str, failure: Failure, code: int
) -> None:
    """A bad certificate names the row, and what stands behind it is recorded all the same."""
    leaf = bad_leaf(kind, authority, tmp_path)
    async with answering(OK, context=leaf.context()) as server:
        outcome = await ask(https_check(server.port), ca_file=str(authority.ca_file))
    row = outcome.result
    assert words(row) == (Operation.TLS, failure)
    assert (row.cert_verify, row.http_status, row.body_bytes) == (code, 200, 2)
    assert (row.sent, row.lost) == (1, 1)
    assert [certificate.der for certificate in outcome.certificates] == [leaf.der]
    assert row.cert_sha256 == outcome.certificates[0].sha256
    assert row.tls_version == "TLSv1.3"
    assert row.total_us is not None
    assert server.connections == 2
    assert [attempt.failure for attempt in outcome.attempts] == [None, failure, *[None] * 4]
    assert f"verify code {code}: " in outcome.attempts[1].detail


@pytest.mark.parametrize(("kind", "failure", "code"), BAD)
async def test_bad_certificate_of_a_tls_check(
    authority: Authority, tmp_path: Path, kind: str, failure: Failure, code: int
) -> None:
    """A tls check keeps the leaf of a bad certificate too."""
    leaf = bad_leaf(kind, authority, tmp_path)
    async with serve(handshake_only, context=leaf.context()) as server:
        outcome = await ask(tls_check(server.port), ca_file=str(authority.ca_file))
    assert words(outcome.result) == (Operation.TLS, failure)
    assert outcome.result.cert_verify == code
    assert [certificate.der for certificate in outcome.certificates] == [leaf.der]


async def test_the_look_behind_a_bad_certificate_counts(authority: Authority) -> None:
    """Where the rate per target is used up there is no second connection, and the verdict stands."""
    leaf = authority.leaf("x.test", from_days=-9, to_days=-2)
    gate = Gate(HostLimits(per_target_per_minute=1), now_s=0)
    async with (
        answering(OK, context=leaf.context()) as server,
        loopback_box(ca_file=str(authority.ca_file)) as open_box,
    ):
        box = replace(open_box, may_contact=lambda at: gate.admit_address(at, now_s=0))
        outcome = await run_check(https_check(server.port), box)
    assert server.connections == 1
    assert words(outcome.result) == (Operation.TLS, Failure.TLS_EXPIRED)
    assert outcome.result.validity is Validity.OK
    assert (outcome.result.cert_verify, outcome.result.http_status) == (10, None)
    assert "limits.per_target_per_minute" in outcome.attempts[-1].detail


async def test_bad_status_behind_a_bad_certificate(authority: Authority) -> None:
    """The first failure keeps the word; the status is there to see."""
    leaf = authority.leaf("x.test", from_days=-9, to_days=-2)
    async with answering(response("503 No"), context=leaf.context()) as server:
        outcome = await ask(https_check(server.port), ca_file=str(authority.ca_file))
    assert words(outcome.result) == (Operation.TLS, Failure.TLS_EXPIRED)
    assert outcome.result.http_status == 503
    assert outcome.attempts[-1].failure is Failure.HTTP_STATUS


async def test_redirect_behind_a_bad_certificate_is_not_followed(authority: Authority) -> None:
    """A chain ends at the hop whose certificate is bad."""
    leaf = authority.leaf("y.test")
    moved = response("302 Found", b"", "Location: https://127.0.0.1:1/")
    async with answering(moved, context=leaf.context()) as server:
        check = https_check(server.port, follow_redirects=3)
        row = (await ask(check, ca_file=str(authority.ca_file))).result
    assert words(row) == (Operation.TLS, Failure.TLS_NAME_MISMATCH)
    assert (row.http_status, row.location) == (302, "https://127.0.0.1:1/")


async def test_good_tls_check(authority: Authority) -> None:
    """A tls check is over after the handshake; its total is resolve, connect and handshake."""
    leaf = authority.leaf("x.test")
    async with serve(handshake_only, context=leaf.context()) as server:
        outcome = await ask(tls_check(server.port), ca_file=str(authority.ca_file))
    row = outcome.result
    assert words(row) == (None, None)
    assert row.connect_us is not None
    assert row.tls_us is not None
    assert row.total_us == row.connect_us + row.tls_us
    assert row.first_byte_us is None


async def test_certificate_for_an_address(authority: Authority) -> None:
    """Asked by address, a certificate for a name is a mismatch: code 64, not 62."""
    leaf = authority.leaf("x.test")
    async with serve(handshake_only, context=leaf.context()) as server:
        check = tls_check(server.port, host="127.0.0.1", pinned=None)
        row = (await ask(check, ca_file=str(authority.ca_file))).result
    assert (row.failure, row.cert_verify) == (Failure.TLS_NAME_MISMATCH, 64)


async def test_contexts_are_shared(authority: Authority) -> None:
    """Reading the authorities is paid once per toolbox."""
    leaf = authority.leaf("x.test")
    async with (
        answering(OK, context=leaf.context()) as server,
        loopback_box(ca_file=str(authority.ca_file)) as box,
    ):
        for _ in range(2):
            await run_check(https_check(server.port), box)
            kept = dict(box.tls_contexts)
        assert kept == box.tls_contexts
        assert set(kept) == {"verify"}


async def test_ca_file_replaces_the_system_store(authority: Authority, tmp_path: Path) -> None:
    """Only what the file holds is trusted."""
    other = make_authority(tmp_path, "Another Authority")
    leaf = authority.leaf("x.test")
    async with serve(handshake_only, context=leaf.context()) as server:
        row = (await ask(tls_check(server.port), ca_file=str(other.ca_file))).result
    assert row.failure is Failure.TLS_UNTRUSTED


async def test_ca_file_that_is_none(tmp_path: Path) -> None:
    """A file that is missing or holds no certificate is named at the start, before any check."""
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=rf"{path.name}: ca_file cannot be used"):
            async with loopback_box(ca_file=str(path)):
                pass


async def speak_plainly(stream: trio.abc.Stream) -> None:
    """Answer a ClientHello with HTTP, as a plain port does."""
    await stream.receive_some(4096)
    await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await stream.aclose()


async def hang_up(stream: trio.abc.Stream) -> None:
    """Close after the ClientHello, without a word."""
    await stream.receive_some(4096)
    await stream.aclose()


async def reset_on_hello(stream: trio.abc.Stream) -> None:
    """What a middlebox does that dislikes the name."""
    await stream.receive_some(4096)
    await reset(stream)


async def alert(stream: trio.abc.Stream) -> None:
    """A fatal alert, handshake_failure (RFC 8446 6.2)."""
    await stream.receive_some(4096)
    await stream.send_all(b"\x15\x03\x03\x00\x02\x02\x28")
    await stream.aclose()


async def unrecognized_name(stream: trio.abc.Stream) -> None:
    """A fatal alert, unrecognized_name (RFC 6066 3)."""
    await stream.receive_some(4096)
    await stream.send_all(b"\x15\x03\x03\x00\x02\x02\x70")
    await stream.aclose()


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        (speak_plainly, Failure.TLS_PROTOCOL),
        (hang_up, Failure.TLS_PROTOCOL),
        (reset_on_hello, Failure.RESET),
        (alert, Failure.TLS_ALERT),
        (unrecognized_name, Failure.TLS_ALERT),
        (silent, Failure.TIMEOUT),
    ],
)
async def test_handshakes_that_fail(script: Any, failure: Failure) -> None:
    """Each way of not shaking hands has its word at the operation tls."""
    timeout_s = 0.5 if script is silent else 5.0
    async with serve(script) as server:
        for check in (
            https_check(server.port, timeout_s=timeout_s),
            tls_check(server.port, timeout_s=timeout_s),
        ):
            outcome = await ask(check)
            row = outcome.result
            assert words(row) == (Operation.TLS, failure)
            assert (row.cert_verify, row.tls_us, row.total_us) == (None, None, None)
            assert outcome.certificates == ()


async def test_second_look_that_fails(authority: Authority) -> None:
    """Where the second connection breaks, the verdict of the first stands."""
    leaf = authority.leaf("y.test")
    context = leaf.context()
    seen = Listening()

    async def only_once(stream: trio.abc.Stream) -> None:
        seen.connections += 1
        if seen.connections > 1:
            await reset(stream)
            return
        tls = trio.SSLStream(stream, context, server_side=True)  # type: ignore[arg-type] # a transport
        await tls.do_handshake()

    async with serve(only_once) as server:
        outcome = await ask(https_check(server.port), ca_file=str(authority.ca_file))
    assert words(outcome.result) == (Operation.TLS, Failure.TLS_NAME_MISMATCH)
    assert (outcome.result.cert_verify, outcome.result.cert_sha256) == (62, None)
    assert outcome.attempts[-1].failure in {Failure.RESET, Failure.TLS_PROTOCOL}


async def test_client_certificate_wanted(authority: Authority) -> None:
    """A server that wants a certificate of ours says so only after the handshake (TLS 1.3)."""
    context = authority.leaf("x.test").context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)

    def accept_blocking(sock: socket.socket) -> None:
        # The standard library's blocking server sends the alert; trio's keeps it to itself.
        sock.settimeout(5)
        with contextlib.suppress(ssl.SSLError), sock:
            context.wrap_socket(sock, server_side=True).close()

    async def script(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        again = socket.socket(fileno=os.dup(stream.socket.fileno()))
        await trio.to_thread.run_sync(accept_blocking, again)

    async with serve(script) as server:
        row = (await ask(https_check(server.port), ca_file=str(authority.ca_file))).result
    assert words(row) == (Operation.TLS, Failure.TLS_ALERT)


async def test_reply_in_tiny_records(authority: Authority) -> None:
    """A reply in many records with pauses for the loop between them is one reply."""
    context = authority.leaf("x.test").context()

    async def drip(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        for at in range(len(OK)):
            await stream.send_all(OK[at : at + 1])
            await trio.lowlevel.checkpoint()

    async with serve(drip, context=context) as server:
        row = (await ask(https_check(server.port), ca_file=str(authority.ca_file))).result
    assert (row.failure, row.body_bytes) == (None, 2)


async def test_rude_close(authority: Authority) -> None:
    """A close without TLS's goodbye is good after a whole reply and truncation before its end."""
    context = authority.leaf("x.test").context()

    async def rude(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await read_request(stream, server)
        is_whole = server.requests[-1].startswith(b"GET /whole ")
        await stream.send_all(OK if is_whole else OK[:-1])
        await stream.transport_stream.send_eof()
        await silent(stream)

    async with serve(rude, context=context) as server:
        for path, failure in (("/whole", None), ("/cut", Failure.HTTP_TRUNCATED)):
            check = https_check(server.port, path=path)
            row = (await ask(check, ca_file=str(authority.ca_file))).result
            assert row.failure is failure
