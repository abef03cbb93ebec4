"""Three machines in network namespaces, for facts that loopback cannot show.

    probe 10.1.0.1, fd01::1 ── router 10.1.0.254, 10.2.0.254 ── target 10.2.0.2, fd02::2

`enter` runs one named story (tests/fakes/stories.py) in fresh user, mount and network namespaces of
its own process, so that nothing of this machine is touched and nothing is left behind. The rest is
for the inside of that process. No privileges are needed where user namespaces are open.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--fork", "--kill-child")
_CLONE_NEWNET = 0x40000000
PROBE, ROUTER, ROUTER_FAR, TARGET = "10.1.0.1", "10.1.0.254", "10.2.0.254", "10.2.0.2"
PROBE6, ROUTER6, TARGET6 = "fd01::1", "fd01::254", "fd02::2"

_LINKS = """
link set lo up
link add p0 type veth peer name r0 netns router
link add r1 netns router type veth peer name t0 netns target
addr add 10.1.0.1/24 dev p0
addr add fd01::1/64 dev p0 nodad
link set p0 up
"""
_ROUTER = """
link set lo up
addr add 10.1.0.254/24 dev r0
addr add 10.2.0.254/24 dev r1
addr add fd01::254/64 dev r0 nodad
addr add fd02::254/64 dev r1 nodad
link set r0 up
link set r1 up
"""
_TARGET = """
link set lo up
addr add 10.2.0.2/24 dev t0
addr add fd02::2/64 dev t0 nodad
link set t0 up
route add default via 10.2.0.254
"""
_SYSCTLS = {
    "router": {
        "net/ipv4/ip_forward": "1",
        "net/ipv6/conf/all/forwarding": "1",
        "net/ipv4/icmp_ratelimit": "0",
        "net/ipv6/icmp/ratelimit": "0",
    },
}

# Debian keeps it where an unprivileged user's PATH does not look.
NFT = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "nft"

Found = TypeVar("Found")


def why_not() -> str | None:
    """Why this machine lets nobody make such namespaces; None when it does."""
    try:
        tried = subprocess.run(
            [*UNSHARE, NFT, "list", "ruleset"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    return None if tried.returncode == 0 else f"user namespaces: {tried.stderr.strip()}"


def enter(story: str, *words: str) -> dict[str, Any]:
    """What the story returns, told in namespaces of its own."""
    ran = subprocess.run(
        [*UNSHARE, sys.executable, "-W", "error", "-m", "tests.fakes.stories", story, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


# --- Inside ---------------------------------------------------------------------------------------


def build(*, icmp: bool = True) -> None:
    """Make the three machines; this process is the probe.

    A fresh namespace lets nobody open ICMP sockets; with `icmp` our group may.
    """
    run("mount", "-t", "tmpfs", "none", "/run")
    for name in ("router", "target"):
        run("ip", "netns", "add", name)
    for machine in (None, "router", "target"):
        # Nobody shares these links: no wait for duplicate addresses.
        sysctl("net/ipv6/conf/default/accept_dad", "0", machine=machine)
    batch(_LINKS)
    batch(_ROUTER, machine="router")
    batch(_TARGET, machine="target")
    batch("route add default via 10.1.0.254")
    batch("-6 route add default via fd01::254")
    run("ip", "-n", "target", "-6", "route", "add", "default", "via", "fd02::254")
    for machine, settings in _SYSCTLS.items():
        for key, value in settings.items():
            sysctl(key, value, machine=machine)
    if icmp:
        sysctl("net/ipv4/ping_group_range", "0 0")


def run(*words: str, given: str | None = None) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}{given or ''}"


def batch(lines: str, *, machine: str | None = None) -> None:
    """Several `ip` commands at once."""
    family = ["-6"] if lines.startswith("-6 ") else []
    where = [] if machine is None else ["-n", machine]
    run("ip", *family, *where, "-batch", "-", given=lines.removeprefix("-6 ") + "\n")


def sysctl(key: str, value: str, *, machine: str | None = None) -> None:
    """Set a kernel setting of one machine."""
    inside = [] if machine is None else ["ip", "netns", "exec", machine]
    run(*inside, "sh", "-c", f"echo '{value}' > /proc/sys/{key}")


def rules(chain: str, *, machine: str | None = "router", hook: str = "forward") -> None:
    """Give one machine these firewall rules, one a line, and no others."""
    head = (
        f"flush ruleset\ntable inet story {{\nchain {hook} {{\ntype filter hook {hook} priority 0\n"
    )
    text = f"{head}{chain}\n}}\n}}\n"
    inside = [] if machine is None else ["ip", "netns", "exec", machine]
    run(*inside, NFT, "-f", "-", given=text)


def on(machine: str, make: Callable[[], Found]) -> Found:
    """What `make` makes on another machine: a socket stays where it was made."""
    made: list[Found] = []

    def enter_and_make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        handle = os.open(f"/run/netns/{machine}", os.O_RDONLY)
        try:
            assert libc.setns(handle, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(handle)
        made.append(make())

    thread = threading.Thread(target=enter_and_make)
    thread.start()
    thread.join()
    return made[0]


def listener(address: str, port: int) -> Callable[[], socket.socket]:
    """A listening TCP socket; nobody needs to accept for a handshake to complete."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return lambda: socket.create_server((address, port), family=family)
