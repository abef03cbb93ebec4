"""What systemd is told."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from coordinator.notify import keep_alive, notifier, watchdog_s


def test_the_supervisor_gets_what_is_said(tmp_path: Path) -> None:
    """Each message is one datagram on its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "n"))
        notifier({"NOTIFY_SOCKET": str(tmp_path / "n")})("READY=1")
        assert supervisor.recv(100) == b"READY=1"


def test_an_abstract_socket_is_understood() -> None:
    """A leading @ stands for the zero byte of an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0soundings-test-{id(supervisor)}")
        notifier({"NOTIFY_SOCKET": f"@soundings-test-{id(supervisor)}"})("STOPPING=1")
        assert supervisor.recv(100) == b"STOPPING=1"


def test_without_a_supervisor_nothing_is_said() -> None:
    """A coordinator in a terminal has nobody to tell."""
    notifier({})("READY=1")


def test_the_watchdog_is_patted_at_half_its_time() -> None:
    """And not at all when nobody asked."""
    assert watchdog_s({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert watchdog_s({}) is None


def test_an_unwell_coordinator_stops_patting() -> None:
    """The watchdog hears only while the store's thread lives."""
    well = [True, False, False]
    heard: list[str] = []

    async def scenario() -> None:
        loop = asyncio.create_task(
            keep_alive(heard.append, every_s=0, is_well=lambda: bool(well and well.pop(0)))
        )
        while well:
            await asyncio.wait([loop], timeout=0.001)
        loop.cancel()

    asyncio.run(scenario())
    assert heard == ["WATCHDOG=1"]
