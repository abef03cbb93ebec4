"""A real probe under a hostile coordinator, in a network namespace where every packet is seen.

    probe 93.184.216.1 ── world 93.184.216.0/24, and the way to everywhere else
      └─ loopback: the coordinator, and nothing else

`watch` runs this file in namespaces of its own. Inside, nftables notes the destination of every
packet that the machine sends, but for those to the coordinator and to the resolver that the operator
named. Nothing answers for the forbidden addresses, and everything is routed: what is not noted was
not sent.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import dns.message
import dns.rdatatype
import dns.rrset

from proto.gen import fleet_pb2
from proto.model import Plan
from tests.fakes import hostile_plan
from tests.fakes.fleet import Coordinator
from tests.fakes.hostile_plan import (
    CRLF,
    CROWDED,
    LOCATIONS,
    NAMES,
    OWN,
    OWN6,
    RESOLVER,
    WORLD,
    WORLD6,
    ways,
)
from tests.fakes.netlab import NFT, ROOT, UNSHARE, batch, on, run, sysctl
from tests.fakes.vantage import enrolled

PER_TARGET: Final = 20
DEADLINE_S: Final = 25.0
TOML: Final = f"""
resolvers = ["{RESOLVER}"]
[limits]
checks_per_s = 2000
per_target_per_minute = {PER_TARGET}
"""
_WATCH: Final = """
table inet watch {
  set touched4 { type ipv4_addr; flags dynamic; size 65535; }
  set touched6 { type ipv6_addr; flags dynamic; size 65535; }
  counter crowded { }
  chain out {
    type filter hook output priority 0
    tcp dport { PORTS } accept
    tcp sport { PORTS } accept
    ip daddr RESOLVER udp dport 53 accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept
    ip daddr CROWDED tcp flags & (syn | ack) == syn counter name crowded
    update @touched4 { ip daddr }
    update @touched6 { ip6 daddr }
  }
}
"""
_LINKS: Final = f"""
link set lo up
link add p0 type veth peer name w0 netns world
addr add {OWN}/24 dev p0
addr add {OWN6}/64 dev p0 nodad
link set p0 up
route add default via {WORLD}
"""
_WORLD_LINKS: Final = f"""
link set lo up
addr add {WORLD}/24 dev w0
addr add {WORLD6}/64 dev w0 nodad
link set w0 up
route add local 93.184.216.32/27 dev lo
route add local 93.184.216.64/26 dev lo
route add local 93.184.216.128/26 dev lo
"""


def watch() -> dict[str, Any]:
    """What the probe did, and what the machine sent meanwhile."""
    ran = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.fakes.hostile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


# --- Inside ---------------------------------------------------------------------------------------


def _build() -> None:
    run("mount", "-t", "tmpfs", "none", "/run")
    run("ip", "netns", "add", "world")
    sysctl("net/ipv6/conf/default/accept_dad", "0")
    batch(_LINKS)
    batch(_WORLD_LINKS, machine="world")
    batch(f"-6 route add default via {WORLD6}")
    sysctl("net/ipv4/ping_group_range", "0 0")


class _Web(socketserver.BaseRequestHandler):
    """Answers one request: a redirect for /to/N, else a page; keeps what was asked."""

    heads: Final[list[str]] = []

    def handle(self) -> None:
        head = b""
        self.request.settimeout(1)
        while b"\r\n\r\n" not in head and (data := self.request.recv(4096)):
            head += data
        self.heads.append(head.decode("latin-1"))
        found = re.match(r"\S+ /to/(\d+) ", self.heads[-1])
        location = LOCATIONS[int(found[1])].encode() if found else b""
        status = b"302 Found\r\nLocation: " + location if found else b"200 OK"
        self.request.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 200

    def handle_error(self, *_words: object) -> None:
        """A peer that hangs up is no news."""


def _serve_names(sock: socket.socket) -> None:
    while True:
        data, sender = sock.recvfrom(4096)
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        question = query.question[0]
        name = b".".join(question.name.labels).decode("latin-1").rstrip(".").lower()
        owner = question.name
        for record in NAMES.get(name, ()):
            kind, value = record.split()
            if kind == "CNAME":
                target = dns.rrset.from_text(owner, 60, "IN", kind, value + ".")
                reply.answer.append(target)
                owner = dns.name.from_text(value + ".")
            elif dns.rdatatype.from_text(kind) == question.rdtype:
                reply.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, value))
        sock.sendto(reply.to_wire(), sender)


def _start_world() -> None:
    names = on("world", lambda: _udp(RESOLVER, 53))
    threading.Thread(target=_serve_names, args=(names,), daemon=True).start()
    web = on("world", lambda: _Server(("0.0.0.0", 80), _Web))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    on("world", lambda: _kept.append(socket.create_server((WORLD6, 80), family=socket.AF_INET6)))


_kept: list[socket.socket] = []


def _udp(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


@contextmanager
def _probe(state: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real command; home, directory and temporary files are all in one empty place."""
    (state / "probe.toml").write_text(TOML)
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(home))
    environment = {
        **os.environ,
        **places,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        # A proxy in the environment would be a way around every policy.
        **dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:3128"),
    }
    words = [sys.executable, "-m", "soundings", "probe", "run", "--state", str(state)]
    with (state.parent / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=home, stderr=log, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _story(place: Path) -> dict[str, Any]:
    checks = hostile_plan.checks()
    home, state = place / "home", place / "state"
    home.mkdir()
    with Coordinator() as coordinator, _probe(enrolled(state, coordinator), home) as process:
        coordinator.wait(lambda seen: bool(seen.hellos))
        ports = f"{coordinator.fleet_port}, {coordinator.enrol_port}"
        chain = _WATCH.replace("PORTS", ports).replace("RESOLVER", RESOLVER)
        run(NFT, "-f", "-", given=chain.replace("CROWDED", CROWDED))
        begun = time.monotonic()
        plan = Plan(version=1, checks=checks, flush_s=0.2, user_agent=CRLF)
        coordinator.push(fleet_pb2.Down(plan=coordinator.authority.sign(plan)))
        _wait_for_rows(coordinator, len(checks), times=2)
        for check in checks:
            coordinator.push(fleet_pb2.Down(run=fleet_pb2.Run(check_no=check.check_no)))
        _wait_for_rows(coordinator, len(checks), times=3)
        beside = hostile_plan.once()
        asked = Plan(version=1, checks=tuple(beside.values()), issued_at_us=time.time_ns() // 1000)
        coordinator.push(fleet_pb2.Down(once=coordinator.authority.sign(asked, once=True)))
        _wait_for_rows(coordinator, len(checks) + len(beside), times=1)
        told = {
            "elapsed_s": time.monotonic() - begun,
            "sockets": _sockets(process.pid),
            "limits": Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii"),
            "status": Path(f"/proc/{process.pid}/status").read_text(encoding="ascii"),
        }
    return {
        **told,
        "touched": _touched(),
        "crowded": _counted(),
        "rows": _rows(coordinator),
        "heads": _Web.heads,
        "elsewhere": [str(path) for path in home.rglob("*")],
        "log": (place / "log").read_text(encoding="utf-8"),
    }


def _wait_for_rows(coordinator: Coordinator, checks: int, *, times: int) -> None:
    def enough(seen: Any) -> bool:
        counts: dict[int, int] = {}
        for row in seen.rows:
            counts[row.check_no] = counts.get(row.check_no, 0) + 1
        return len(counts) == checks and min(counts.values()) >= times

    coordinator.wait(enough, timeout_s=DEADLINE_S)


def _rows(coordinator: Coordinator) -> dict[str, list[str]]:
    """How the slots of each way ended."""
    found: dict[str, list[str]] = {}
    names = dict(enumerate((way.name for way in ways()), 1))
    names |= {check.check_no: name for name, check in hostile_plan.once().items()}
    for row in coordinator.seen.rows:
        ended = row.failure or "good" if row.reason is None else row.reason
        found.setdefault(names[row.check_no], []).append(str(ended))
    return found


def _nft(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [NFT, "--json", "list", *words], capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stdout)["nftables"])


def _touched() -> list[str]:
    found: list[str] = []
    for name in ("touched4", "touched6"):
        entry = next(one["set"] for one in _nft("set", "inet", "watch", name) if "set" in one)
        found += entry.get("elem", [])
    return sorted(found)


def _counted() -> int:
    (counter,) = (
        one["counter"] for one in _nft("counter", "inet", "watch", "crowded") if "counter" in one
    )
    return int(counter["packets"])


def _sockets(pid: int) -> list[str]:
    """Protocol, local end and state of every internet socket that the process holds."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed between the two looks
        if link.startswith("socket:["):
            inodes.add(link[len("socket:[") : -1])
    found = []
    for protocol in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        lines = Path(f"/proc/{pid}/net/{protocol}").read_text(encoding="ascii").splitlines()[1:]
        rows = [line.split() for line in lines]
        found += [f"{protocol} {row[1]} {row[2]} {row[3]}" for row in rows if row[9] in inodes]
    return found


def _inside(story: Callable[[Path], dict[str, Any]]) -> None:
    _build()
    _start_world()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(story(Path(name))))


if __name__ == "__main__":
    _inside(_story)
    os._exit(0)  # the world's servers have nothing to put away
