"""`soundings probe check` and `soundings probe doctor` as they are typed, against real listeners."""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
import trio

from probe import explain
from proto.model import ConfigError
from tests.fakes.scripted_server import answering, closed_port, response
from tests.fakes.tls_authority import make_authority


@pytest.fixture(name="config")
def a_config(tmp_path: Path) -> Path:
    """A probe.toml that allows loopback and names no server but a dead one."""
    path = tmp_path / "probe.toml"
    path.write_text('allow_networks = ["127.0.0.0/8"]\nresolvers = ["127.0.0.1:1"]\n')
    return path


async def check(*words: object) -> int:
    """Run `soundings probe check` with these words."""
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    return await explain.explain(parser.parse_args([str(word) for word in words]))


@asynccontextmanager
async def resolver(**answers: str) -> AsyncIterator[str]:
    """A name server for names under `test` and for the root; yields its address and port."""

    async def serve(sock: trio.socket.SocketType) -> None:
        while True:
            data, sender = await sock.recvfrom(4096)
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query)
            question = query.question[0]
            label = question.name.labels[0].decode()
            if not label:
                reply.answer.append(dns.rrset.from_text(".", 60, "IN", "NS", "a.root."))
            elif label in answers:
                reply.answer.append(
                    dns.rrset.from_text(question.name, 60, "IN", "A", answers[label])
                )
            else:
                reply.set_rcode(3)
            await sock.sendto(reply.to_wire(), sender)

    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, sock)
            yield f"127.0.0.1:{sock.getsockname()[1]}"
            nursery.cancel_scope.cancel()


def steps_in(page: str) -> list[str]:
    """Operation and word of each step on a page."""
    lines = page.split("\nsteps\n")[1].split("\n\n", maxsplit=1)[0].splitlines()
    heads = [line for line in lines if line[:3].strip().isdigit()]
    return [f"{line.split()[1]} {line[35:].split()[0]}" for line in heads]


async def test_check_of_a_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good https check shows every operation with its time, and ends with 0."""
    authority = make_authority(config.parent)
    context = authority.leaf("x.test").context()
    async with (
        resolver(x="127.0.0.1") as server,
        answering(response("200 OK"), context=context) as web,
    ):
        target = f"https://x.test:{web.port}/live"
        options = ("--explain", "--config", config, "--resolver", server)
        code = await check(target, *options, "--ca-file", authority.ca_file)
    page = capsys.readouterr().out
    assert code == 0, page
    assert steps_in(page) == [
        "resolve good",
        "connect good",
        "tls good",
        "request good",
        "reply good",
    ]
    assert f"{target}  (http over IPv4 at 127.0.0.1:{web.port})\ngood\n" in page
    assert "TLSv1.3, certificate verified" in page
    assert "127.0.0.1 is loopback: allowed by 127.0.0.0/8" in page
    assert f"ca_file = {authority.ca_file}" in page
    assert f"resolvers = {server}\n" in page


async def test_check_of_an_expired_certificate(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An expired certificate shows the row that decided, and what stands behind it; 1."""
    authority = make_authority(config.parent)
    context = authority.leaf("x.test", from_days=-9, to_days=-2).context()
    async with answering(response("200 OK"), context=context) as web:
        target = f"https://x.test:{web.port}/"
        options = ("--explain", "--config", config, "--pinned", "127.0.0.1")
        code = await check(target, *options, "--ca-file", authority.ca_file)
    page = capsys.readouterr().out
    assert code == 1
    assert "FAILED: tls_expired at tls" in page
    assert "verify code 10: expired -> tls_expired (verify code 10: certificate has" in page
    assert "HTTP/1.1 200, 2 bytes of body" in page
    assert steps_in(page) == [
        "connect good",
        "tls tls_expired",
        "connect good",
        "tls good",
        "request good",
        "reply good",
    ]


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (("tcp://127.0.0.1:PORT",), "refused"),
        (("dns://nowhere.test", "--resolver", "SERVER"), "dns_nxdomain"),
        (("http://nowhere.test", "--resolver", "SERVER"), "dns_nxdomain"),
        (("http://x.test:WEB", "--resolver", "SERVER", "--expect-status", "204"), "http_status"),
        (("http://x.test:WEB", "--resolver", "SERVER", "--expect-body", "x"), "http_content"),
        (("tls://x.test:WEB", "--resolver", "SERVER", "--timeout-s", "0.5"), "timeout"),
    ],
)
async def test_failures_as_data(
    config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], failure: str
) -> None:
    """With --json a failure is data, and the exit code is 1."""
    async with resolver(x="127.0.0.1") as server, answering(response("200 OK")) as web:
        places = {"PORT": str(closed_port()), "SERVER": server, "WEB": str(web.port)}
        typed = list(words)
        for name, value in places.items():
            typed = [word.replace(name, value) for word in typed]
        code = await check(*typed, "--json", "--config", config)
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == data["exit_code"] == 1
    assert [run["result"]["failure"] for run in data["runs"]] == [failure]
    assert data["runs"][0]["attempts"][-1]["classified_by"]


async def test_repeated_check(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A count repeats the check, politely apart."""
    async with answering(response("200 OK")) as web:
        code = await check(
            f"http://127.0.0.1:{web.port}", "--count", "2", "--json", "--config", config
        )
    assert (code, web.connections) == (0, 2)
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2


async def test_check_of_a_dns_server(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server that was asked, how it answered, and all that it said."""
    async with resolver(x="1.1.1.1") as server:
        code = await check(
            "x.test", "--kind", "dns", "--server", server, "--config", config, "--explain"
        )
    page = capsys.readouterr().out
    assert code == 0
    assert page.startswith(f"x.test  (dns over IPv4 at {server})\ngood\n")
    assert "dns rcode 0, TTL 60 s: 1.1.1.1\n  dns flags rd, over UDP\n" in page
    assert "policy   127.0.0.1 is loopback: allowed by 127.0.0.0/8" in page


async def test_check_of_a_zone_that_nobody_serves(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The search for its name servers is shown, and that nothing was measured."""
    async with resolver() as server:
        code = await check(
            "dns://x.test", "--authoritative", "--resolver", server, "--config", config, "--explain"
        )
    page = capsys.readouterr().out
    assert (code, page.splitlines()[1]) == (9, "not run: unsupported")
    assert "(NS of x.test: none)" in page
    assert "test does not exist, so no zone holds x.test" in page


async def test_barred_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a permission for it loopback is not contacted; the page says what to add; 9."""
    empty = tmp_path / "probe.toml"
    empty.write_text("")
    async with answering(response("200 OK")) as web:
        code = await check(f"http://127.0.0.1:{web.port}", "--config", empty)
        assert (code, web.connections) == (9, 0)
        allowed = ("--allow-network", "127.0.0.0/8")
        assert await check(f"http://127.0.0.1:{web.port}", *allowed, "--config", empty) == 0
    assert "not run: policy\n  127.0.0.1 is loopback; add" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("gopher://x.test",), "unknown scheme"),
        (("x.test", "--count", "0"), "--count is 0; it must lie between 1 and 100"),
        (("x.test", "--count", "17"), "--count is 17; one run sends at most 16 echo requests"),
        (("x.test", "--trace", "--count", "17"), "one run sends at most 16 packets to each hop"),
        (("x.test", "--trace", "--max-hops", "0"), "--max-hops is 0; it must lie between 1 and 64"),
        (("x.test", "--trace", "--kind", "tcp"), "--trace and --kind tcp contradict each other"),
        (("x.test", "--timeout-s", "0"), "--timeout-s is 0.0; it must be above 0"),
        (("x.test", "--allow-network", "ten"), "'ten' is no network"),
        (("x.test", "--resolver", "nobody"), "'nobody' is no server"),
    ],
)
async def test_usage(
    config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], text: str
) -> None:
    """What makes no sense is said with the fix; 2."""
    assert await check(*words, "--config", config) == 2
    assert text in capsys.readouterr().err


async def test_files_that_are_missing(config: Path) -> None:
    """A missing probe.toml is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        await check("x.test", "--config", config.parent / "nowhere.toml")
