"""`soundings up` as people start it: one command, a real probe, no line to the world."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from coordinator.configs import parse_config
from coordinator.core.settings import Address
from coordinator.exits import CoordinatorError, Exit
from coordinator.up import Wishes, place_config, reachable, starter_config
from coordinator.up_cli import default_data, main
from proto.model import Role

ROOT = Path(__file__).resolve().parents[2]

# Short bins, and ports that the system chooses: everything else is the shipped configuration.
_SHORT = {
    "bin_s = 60": "bin_s = 2\nprovisional_s = 2\nrevised_s = 60\nfinal_s = 600",
    "interval_s = 60": "interval_s = 2",
    "timeout_s = 8": "timeout_s = 1.5",
    "7443": "0",
    "7444": "0",
    "[judging]": "[limits]\nper_target_per_minute = 600\n[judging]",
}
# A resolver address on loopback at which nobody listens: as cut off as a machine can be, and not
# a packet leaves it.
_CUT_OFF = 'resolvers = ["127.0.0.99"]\n'


def _prepare(path: Path, *, web: str = "127.0.0.1:0") -> list[str]:
    """Files for a cut-off machine, and the arguments to start it with."""
    text = starter_config().replace("127.0.0.1:8080", web)
    for old, new in _SHORT.items():
        assert old in text
        text = text.replace(old, new)
    (path / "own.toml").write_text(text, encoding="utf-8")
    (path / "data" / "probe").mkdir(parents=True, exist_ok=True)
    (path / "data" / "probe" / "probe.toml").write_text(_CUT_OFF, encoding="utf-8")
    return ["up", "--data", str(path / "data"), "--config", str(path / "own.toml")]


class Running:
    """A started command and what it printed so far."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.lines: list[str] = []

    async def until(self, part: str) -> str:
        """Read what it prints until a line holds `part`."""
        assert self.child.stdout is not None
        async with asyncio.timeout(90):
            while line := (await self.child.stdout.readline()).decode():
                self.lines.append(line.rstrip())
                if part in line:
                    return line.rstrip()
        raise AssertionError(f"it ended without {part!r}: {self.lines}")

    async def stop(self) -> int:
        """Ctrl-C, then wait for the end."""
        self.child.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            return await self.child.wait()


@asynccontextmanager
async def _started(argv: list[str]) -> AsyncIterator[Running]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "soundings",
        *argv,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield Running(child)
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()


def _group_is_gone(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_without_a_line_it_says_so_and_blames_no_target(tmp_path: Path) -> None:
    """Cut off, the verdict is vantage_local; no target is accused; Ctrl-C ends both programs."""
    argv = [*_prepare(tmp_path), "--asn", "64512", "--country", "DE"]

    async def body() -> None:
        async with _started(argv) as up:
            page = (await up.until("page")).split()[-1]
            await up.until("vantage_local (level local)")
            async with aiohttp.ClientSession(base_url=page) as session:
                verdicts = await _get(session, "api/verdicts/all?limit=10000")
                probes = await _get(session, "api/probes")
            assert {one["level"] for one in verdicts} <= {"local", "unknown"}
            assert [(p["vantage_asn"], p["vantage_country"]) for p in probes] == [(64512, "DE")]
            assert await up.stop() == 0
            assert _group_is_gone(up.child.pid)
        async with _started(argv) as up:
            await up.until("Soundings is running")
            page = (await up.until("page")).split()[-1]
            async with aiohttp.ClientSession(base_url=page) as session:
                assert len(await _get(session, "api/probes")) == 1
            assert await up.stop() == 0

    asyncio.run(body())


async def _get(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as reply:
        return await reply.json()


def test_an_occupied_port_ends_it_with_its_own_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 8, and a message that names the door and the port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        argv = [*_prepare(tmp_path)[1:], "--web", f"127.0.0.1:{port}"]
        assert main(argv) == Exit.PORT_OCCUPIED
    said = capsys.readouterr().err
    assert "coordinator.web" in said
    assert f"port {port} is held by" in said


def test_bad_configuration_and_arguments_have_their_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 3 with every finding; code 7 for a directory that cannot be; code 2 for a bad country."""
    argv = _prepare(tmp_path)[1:]
    (tmp_path / "own.toml").write_text("[coordinator]\nnmae = 1\n", encoding="utf-8")
    assert main(argv) == Exit.BAD_CONFIG
    assert "nmae" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "own.toml" / "x")]) == Exit.DATA_UNUSABLE
    assert "--data" in capsys.readouterr().err
    fresh = _prepare(tmp_path)[1:]
    assert main([*fresh, "--country", "Germany"]) == Exit.USAGE
    assert "--country" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([*fresh, "--web", "nowhere"])
    assert ended.value.code == Exit.USAGE


def test_the_shipped_configuration_is_polite_and_wide() -> None:
    """Siblings and neighbours, twelve anchors in eight networks or more, a minute between asks."""
    config = parse_config(starter_config(), file="platform.toml")
    roles = {component.role for component in config.services[0].components}
    assert {Role.SUBJECT, Role.SIBLING, Role.NEIGHBOUR} <= roles
    assert len(config.anchors) >= 12
    assert len({anchor.asn for anchor in config.anchors if anchor.asn}) >= 8
    assert min(component.interval_s for component in config.components()) >= 60
    assert config.doors.contact
    assert config.doors.web == Address("127.0.0.1", 8080)


def test_the_shipped_configuration_is_copied_once(tmp_path: Path) -> None:
    """What the user made of the copy stays; a file of their own is used where it is."""
    wishes = Wishes(data_dir=tmp_path / "data")
    place = place_config(wishes)
    assert place.read_text(encoding="utf-8") == starter_config()
    place.write_text("# mine\n", encoding="utf-8")
    assert place_config(wishes).read_text(encoding="utf-8") == "# mine\n"
    own = tmp_path / "own.toml"
    assert place_config(Wishes(data_dir=tmp_path, config_file=own)) == own
    with pytest.raises(CoordinatorError) as refused:
        place_config(Wishes(data_dir=place / "below"))
    assert refused.value.code == Exit.DATA_UNUSABLE


def test_addresses_and_places_have_defaults() -> None:
    """A door on all addresses is reached on loopback; data lives where a user's data lives."""
    assert reachable("0.0.0.0:7444") == "127.0.0.1:7444"
    assert reachable("[::]:7444") == "[::1]:7444"
    assert reachable("192.0.2.1:7444") == "192.0.2.1:7444"
    assert default_data({"HOME": "/home/u"}) == Path("/home/u/.local/share/soundings")
    assert default_data({"XDG_DATA_HOME": "/d", "HOME": "/h"}) == Path("/d/soundings")
