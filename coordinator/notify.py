"""Tell systemd that the coordinator is ready, alive, or stopping (sd_notify(3)); nothing elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping

Notify = Callable[[str], None]


def notifier(environment: Mapping[str, str]) -> Notify:
    """A function that sends one message to the supervisor that asked for it, if any."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return lambda _: None
    if address.startswith("@"):
        address = f"\0{address[1:]}"

    def send(message: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), address)

    return send


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How often the supervisor wants to hear, halved for safety; None when it does not."""
    interval_us = environment.get("WATCHDOG_USEC", "")
    return int(interval_us) / 2_000_000 if interval_us.isdecimal() else None


async def keep_alive(notify: Notify, *, every_s: float, is_well: Callable[[], bool]) -> None:
    """Pat the watchdog for ever while `is_well`; the loop itself being stuck is silence enough."""
    while True:
        if is_well():
            notify("WATCHDOG=1")
        await asyncio.sleep(every_s)
