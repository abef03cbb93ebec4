"""Where the probe's bench takes place: two namespaces on one cable, inside the lab's sandbox.

    vantage 10.63.0.1 ──── 10.63.0.2 target, which also answers for 10.64.0.0/13

Half a million addresses behind one cable let every check have a target of its own, as in life, and
let a packet be found in the capture by its destination. The vantage has one core and the target
another, as far as there are two: a veth pair does the far end's part of a packet in the sender's
time, so what is left to share would be the caches.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.lab import netlink
from deploy.lab.certificates import open_shop
from deploy.lab.ground import NamespacePlace
from deploy.lab.namespace import in_namespace, new_namespace
from deploy.lab.web import Listen, Site, start_web
from probe.io.clock import wall_us

VANTAGE: Final = "10.63.0.1"
TARGET: Final = "10.63.0.2"
BEHIND: Final = "10.64.0.0/13"
NAME: Final = "www.bench.test"
CABLE: Final = "cable"
_LOOPBACK, _CABLE_INDEX = 1, 2
_MACS: Final = (bytes.fromhex("020000000001"), bytes.fromhex("020000000002"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The two ends, their cores, and what the probe is to trust."""

    vantage: int  # namespaces, by descriptor
    target: int
    vantage_core: int
    target_core: int
    directory: Path
    ca_file: Path

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program at the vantage, on its core."""
        return _popen(self.vantage, self.vantage_core, argv, options)

    def popen_aside(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the vantage's network, on the target's core."""
        return _popen(self.vantage, self.target_core, argv, options)


def _popen(
    namespace: int, core: int, argv: Sequence[str], options: dict[str, Any]
) -> subprocess.Popen[Any]:
    options.setdefault("stdin", subprocess.DEVNULL)
    with in_namespace(namespace):
        return subprocess.Popen(["taskset", "-c", str(core), *argv], **options)


@contextmanager
def standing_ground(directory: Path) -> Iterator[Ground]:
    """Lay the cable and start nginx behind it; all is gone when the block ends."""
    cores = sorted(os.sched_getaffinity(0))
    vantage, target = new_namespace(), new_namespace()
    _lay_cable(vantage, target)
    shop = open_shop(directory / "authority", now_us=wall_us()())
    os.sched_setaffinity(0, {cores[-1]})  # ours and, since they are our children, nginx's
    place = NamespacePlace("target", target)
    web = start_web(
        place,
        directory / "web",
        [Site(name=NAME)],
        listen=Listen(addresses=("0.0.0.0",)),
        shop=shop,
    )
    try:
        yield Ground(
            vantage=vantage,
            target=target,
            vantage_core=cores[0],
            target_core=cores[-1],
            directory=directory,
            ca_file=shop.ca_file,
        )
    finally:
        web.process.stop()
        os.sched_setaffinity(0, cores)
        os.close(vantage)
        os.close(target)


def _lay_cable(vantage: int, target: int) -> None:
    ends = [
        netlink.End(namespace=namespace, index=_CABLE_INDEX, name=CABLE, mac=mac)
        for namespace, mac in zip((vantage, target), _MACS, strict=True)
    ]
    netlink.write(vantage, [netlink.veth_pair(*ends)])
    netlink.write(
        vantage,
        [
            *_end(VANTAGE, TARGET, _MACS[1]),
            netlink.add_route(BEHIND, via=TARGET, index=_CABLE_INDEX),
        ],
    )
    # An address of the loopback interface makes its whole prefix this machine's own.
    behind, length = BEHIND.split("/")
    netlink.write(
        target,
        [*_end(TARGET, VANTAGE, _MACS[0]), netlink.add_address(_LOOPBACK, behind, int(length))],
    )
    with in_namespace(vantage):
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0", encoding="ascii")


def _end(own: str, far: str, far_mac: bytes) -> list[netlink.Message]:
    return [
        netlink.set_link(_LOOPBACK, up=True),
        netlink.set_link(_CABLE_INDEX, up=True),
        netlink.add_address(_CABLE_INDEX, own, 30),
        netlink.add_neighbour(_CABLE_INDEX, far, far_mac),
    ]


def end(process: subprocess.Popen[Any], *, timeout_s: float = 10.0) -> None:
    """Ask a program to end, kill it if it does not, and collect it."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
    if process.poll() is None:
        process.kill()
        process.wait()


def fresh(directory: Path) -> Path:
    """The directory, empty."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
