"""How a session's stream ends when what it reaches is no coordinator, or will not have it."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from probe.io.link import INBOX_BYTES_MAX, open_stream
from probe.io.state import Identity, StateDirectory
from proto.gen import fleet_pb2
from tests.fakes import http2_frames as http2
from tests.fakes.fleet import Authority, Coordinator, tls_context
from tests.fakes.scripted_server import Script, serve
from tests.fakes.vantage import Vantage, enrolled, online, seen

HELLO = fleet_pb2.Up(hello=fleet_pb2.Hello())


@pytest.fixture
def identity(coordinator: Coordinator, tmp_path: Path) -> Identity:
    """Of a probe of that coordinator."""
    return StateDirectory(enrolled(tmp_path, coordinator)).identity()


async def ending(endpoint: str, identity: Identity, *, connect_s: float = 10.0) -> str:
    """Why a stream to there ends."""
    with trio.fail_after(20):
        async with open_stream(endpoint, identity, connect_s=connect_s) as stream:
            stream.send(HELLO)
            async for _ in stream.inbox:
                pass
            return str(stream.why())


async def test_a_closed_port_is_named(identity: Identity) -> None:
    """With the address and the kernel's word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
    assert await ending(endpoint, identity) == f"UNAVAILABLE: {endpoint}: Connection refused"


async def test_a_name_that_leads_nowhere_is_named(identity: Identity) -> None:
    """A misspelt host, also where no resolver is ever asked."""
    assert f"UNAVAILABLE: {'a' * 64}:7443: " in await ending(f"{'a' * 64}:7443", identity)


async def test_another_coordinator_is_not_believed(
    coordinator: Coordinator, identity: Identity
) -> None:
    """Its certificate is of an authority that ca.pem does not hold: nothing is said to it."""
    stranger = replace(identity, ca_pem=Authority().pem)
    why = await ending(f"127.0.0.1:{coordinator.fleet_port}", stranger)
    assert "TLS failed" in why
    assert coordinator.seen.hellos == []


async def test_an_authority_signed_by_the_old_one_is_enough(
    coordinator: Coordinator, identity: Identity
) -> None:
    """After a change of CA ca.pem holds the new one alone, which is not signed by itself."""
    old = Authority()
    coordinator.stop()
    coordinator.authority = old.successor()
    coordinator.start()
    trusting_new = replace(identity, ca_pem=coordinator.authority.pem)
    identity.certificate_file.write_bytes(coordinator._certificate(identity.csr_der))
    async with open_stream(f"127.0.0.1:{coordinator.fleet_port}", trusting_new) as stream:
        stream.send(HELLO)
        with trio.fail_after(10):
            assert (await stream.inbox.receive()).WhichOneof("message") == "welcome"


async def test_a_refused_certificate_is_a_closed_connection(
    coordinator: Coordinator, identity: Identity
) -> None:
    """Servers say no more to one that they do not know; the uplink looks at its certificate first."""
    stranger = Coordinator()
    identity.certificate_file.write_bytes(stranger._certificate(identity.csr_der))
    why = await ending(f"127.0.0.1:{coordinator.fleet_port}", identity)
    assert why in {
        "UNAVAILABLE: the connection was closed",
        "UNAVAILABLE: Connection reset by peer",
        "UNAVAILABLE: the connection broke",
    }
    assert coordinator.seen.hellos == []


async def test_a_peer_that_accepts_and_says_nothing_is_left(
    identity: Identity,
) -> None:
    """A port behind a firewall that only completes connections: the time to connect is bounded."""

    async def silent(_stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with serve(silent) as seen:
        assert "no answer in 0.1 s" in await ending(
            f"127.0.0.1:{seen.port}", identity, connect_s=0.1
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "no HTTP/2"),
        (http2.hello() + http2.goaway(last_stream=0, code=0), "GOAWAY NO_ERROR"),
        (http2.hello() + http2.rst_stream(7), "REFUSED_STREAM"),
        (
            http2.hello()
            + http2.headers(("content-type", "application/grpc"))
            + http2.data(b"\0\0\0\0\3\xff\xff\xff", flags=0),
            "cannot be read",
        ),
        (http2.hello(), "closed"),
        (
            http2.hello()
            + http2.headers(
                ("content-type", "application/grpc"),
                ("grpc-status", "14"),
                ("retry-after-ms", "9" * 5000),
                flags=http2.END_HEADERS | http2.END_STREAM,
            ),
            "UNAVAILABLE",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_session_ends_it_with_its_reason(
    coordinator: Coordinator, identity: Identity, tmp_path: Path, content: bytes, words: str
) -> None:
    """A server that holds the right certificate and speaks something else."""
    async with serve(saying(content), context=tls_context(coordinator, tmp_path)) as seen:
        assert words in await ending(f"127.0.0.1:{seen.port}", identity)


def saying(content: bytes) -> Script:
    """Read an opening, send this, close politely."""

    async def script(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(content)
        await stream.aclose()

    return script


async def test_leaving_tells_the_coordinator(coordinator: Coordinator, identity: Identity) -> None:
    """The call is cancelled, so that the other side need not wait for a keepalive."""
    async with open_stream(f"127.0.0.1:{coordinator.fleet_port}", identity) as stream:
        stream.send(HELLO)
        with trio.fail_after(10):
            await stream.inbox.receive()
    with trio.fail_after(5):
        await trio.to_thread.run_sync(coordinator.wait, lambda s: s.left == 1)


async def test_a_plan_of_megabytes_comes_whole(
    coordinator: Coordinator, identity: Identity
) -> None:
    """Many windows long, one message."""
    text = "x" * (5 << 20)
    async with open_stream(f"127.0.0.1:{coordinator.fleet_port}", identity) as stream:
        stream.send(HELLO)
        with trio.fail_after(20):
            await stream.inbox.receive()
            coordinator.push(fleet_pb2.Down(notice=fleet_pb2.Notice(text=text)))
            assert (await stream.inbox.receive()).notice.text == text


async def test_megabytes_that_nobody_reads_end_the_stream(
    coordinator: Coordinator, identity: Identity
) -> None:
    """While the session waits for its disk, plans cannot pile up in memory."""
    plan = fleet_pb2.Down(notice=fleet_pb2.Notice(text="x" * (7 << 20)))
    async with open_stream(f"127.0.0.1:{coordinator.fleet_port}", identity) as stream:
        stream.send(HELLO)
        with trio.fail_after(20):
            await stream.inbox.receive()
            for _ in range(INBOX_BYTES_MAX // (7 << 20) + 1):
                coordinator.push(plan)
            while stream.inbox.statistics().open_send_channels:
                await trio.lowlevel.checkpoint()
        assert "faster than anybody" in str(stream.why())


async def test_the_probe_hears_under_which_address_it_is_seen(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Beside the address that it sends from, as its kernel says."""
    coordinator.behaviour.sees = "192.0.2.7"
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: bool(s.heartbeats))
    assert vantage.sightings == [("127.0.0.1", "192.0.2.7")]
