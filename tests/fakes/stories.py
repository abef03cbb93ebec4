"""What happens to checks on three machines; each story runs in a process of its own.

A story sets the scene, runs real checks, and returns rows as plain values for its test to judge.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import trio

from probe.core.outcome import Outcome
from probe.io.box import Toolbox
from probe.io.ways import way_to
from probe.toolbox import run_check, unsupported
from proto.model import Kind
from tests.fakes import netlab
from tests.fakes.boxes import loopback_box
from tests.fakes.checks import check
from tests.fakes.netlab import TARGET, TARGET6, batch, on, rules, sysctl

Row = dict[str, Any]
PORT: Final = 8080
ALLOWED: Final = ("10.0.0.0/8", "fd00::/8")


@asynccontextmanager
async def scene() -> AsyncIterator[Toolbox]:
    """The three machines, a listener on the target in both families, and a toolbox."""
    netlab.build()
    with (
        on("target", netlab.listener("0.0.0.0", PORT)),
        on("target", netlab.listener(TARGET6, PORT)),
    ):
        async with loopback_box(allow_networks=ALLOWED) as box:
            # The first packet of each way waits for ARP and ND.
            for host, family in ((TARGET, 4), (TARGET6, 6)):
                await run_check(check(host=host, family=family, port=PORT), box)
            yield box


def told(outcome: Outcome) -> Row:
    """A row with how it was decided."""
    row = asdict(outcome.result)
    row["decided"] = [attempt.classified_by for attempt in outcome.attempts]
    row["detail"] = [attempt.detail for attempt in outcome.attempts]
    return row


async def tcp(box: Toolbox, host: str = TARGET, **fields: Any) -> Row:
    """One tcp check."""
    family = 6 if ":" in host else 4
    values = {"port": PORT, **fields}
    return told(await run_check(check(Kind.TCP, host=host, family=family, **values), box))


async def icmp(box: Toolbox, host: str = TARGET, **fields: Any) -> Row:
    """One icmp check."""
    family = 6 if ":" in host else 4
    return told(await run_check(check(Kind.ICMP, host=host, family=family, **fields), box))


async def told_at_once(**rows: Awaitable[Row]) -> Row:
    """All these rows, made side by side."""
    found: Row = {}

    async def note(name: str, row: Awaitable[Row]) -> None:
        found[name] = await row

    async with trio.open_nursery() as nursery:
        for name, row in rows.items():
            nursery.start_soon(note, name, row)
    return found


async def all_ways(box: Toolbox, host: str = TARGET, host6: str = TARGET6, **fields: Any) -> Row:
    """Both kinds of check over both families."""
    return await told_at_once(
        tcp4=tcp(box, host, **fields),
        tcp6=tcp(box, host6, **fields),
        icmp4=icmp(box, host, **fields),
        icmp6=icmp(box, host6, **fields),
    )


async def healthy() -> Row:
    """Nothing is wrong."""
    async with scene() as box:
        return await all_ways(box)


async def closed() -> Row:
    """Nobody listens on the port."""
    async with scene() as box:
        return {"tcp4": await tcp(box, port=1), "tcp6": await tcp(box, TARGET6, port=1)}


REJECTS: Final = {
    "rejected": ("port-unreachable", "port-unreachable"),
    "prohibited": ("admin-prohibited", "admin-prohibited"),
    "host_unreachable": ("host-unreachable", "addr-unreachable"),
    "net_unreachable": ("net-unreachable", "no-route"),
}


async def rejects() -> Row:
    """The router answers for the target, in each of its ways."""
    found: Row = {}
    async with scene() as box:
        for word, (how4, how6) in REJECTS.items():
            rules(
                f"ip daddr {TARGET} reject with icmp {how4}\n"
                f"ip6 daddr {TARGET6} reject with icmpv6 {how6}"
            )
            found[word] = await all_ways(box, timeout_s=2.5)
    return found


async def reset_by_router() -> Row:
    """The router forges a reset to the SYN."""
    async with scene() as box:
        rules(f"tcp dport {PORT} reject with tcp reset")
        return {"tcp4": await tcp(box), "tcp6": await tcp(box, TARGET6)}


async def silent() -> Row:
    """The router swallows everything."""
    async with scene() as box:
        rules("drop")
        return await all_ways(box, timeout_s=1.5)


async def echo_filtered() -> Row:
    """The router swallows echo alone, as many networks do."""
    async with scene() as box:
        rules("icmp type echo-request drop\nicmpv6 type echo-request drop")
        return await all_ways(box, timeout_s=0.5)


async def looping() -> Row:
    """A prefix that router and target send to each other."""
    async with scene() as box:
        batch(f"route add 10.3.0.0/24 via {TARGET}", machine="router")
        batch(f"-6 route add fd03::/64 via {TARGET6}", machine="router")
        sysctl("net/ipv4/ip_forward", "1", machine="target")
        sysctl("net/ipv6/conf/all/forwarding", "1", machine="target")
        return await all_ways(box, "10.3.0.1", "fd03::1", timeout_s=2.5)


async def nobody_on_the_link() -> Row:
    """Neighbours that do not answer ARP and ND: ours, the router's, and our gateway itself."""
    async with scene() as box:
        batch("route add 10.9.0.0/24 via 10.1.0.99")
        batch("-6 route add fd09::/64 via fd01::99")
        return await told_at_once(
            tcp_near=tcp(box, "10.1.0.77", timeout_s=5.0),
            icmp_near=icmp(box, "10.1.0.77", timeout_s=5.0),
            icmp_near6=icmp(box, "fd01::77", timeout_s=5.0),
            icmp_far=icmp(box, "10.2.0.77", timeout_s=5.0),
            tcp_gateway=tcp(box, "10.9.0.1", timeout_s=5.0),
            icmp_gateway=icmp(box, "10.9.0.1", timeout_s=5.0),
            icmp_gateway6=icmp(box, "fd09::1", timeout_s=5.0),
        )


async def local_routes() -> Row:
    """This machine's own table forbids the way."""
    async with scene() as box:
        for kind, number in (("unreachable", 4), ("prohibit", 5), ("blackhole", 6)):
            batch(f"route add {kind} 10.{number}.0.0/24")
            batch(f"-6 route add {kind} fd0{number}::/64")
        found: Row = {
            kind: await all_ways(box, f"10.{number}.0.1", f"fd0{number}::1")
            for kind, number in (("unreachable", 4), ("prohibit", 5), ("blackhole", 6))
        }
        batch("link set p0 down")
        return {**found, "link_down": await all_ways(box)}


async def local_firewall() -> Row:
    """This machine's own firewall swallows what leaves."""
    async with scene() as box:
        rules(f"ip daddr {TARGET} icmp type echo-request drop", machine=None, hook="output")
        return {"icmp4": await icmp(box)}


async def out_of_ports() -> Row:
    """All local ports to this destination are taken."""
    async with scene() as box:
        sysctl("net/ipv4/ip_local_port_range", "40000 40001")
        held = [socket.create_connection((TARGET, PORT)) for _ in range(2)]
        row = await tcp(box)
        for sock in held:
            sock.close()
        return {"tcp4": row}


async def partial_loss() -> Row:
    """Every second request is lost on the way."""
    async with scene() as box:
        rules("icmp type echo-request numgen inc mod 2 < 1 drop")
        return {"icmp4": await icmp(box, packets=6, timeout_s=1.0)}


async def poisoned() -> Row:
    """A filtered target and a healthy one share the socket, for many rounds."""
    async with scene() as box:
        batch("addr add 10.2.0.3/24 dev t0", machine="target")
        rules("ip daddr 10.2.0.3 icmp type echo-request reject with icmp type admin-prohibited")
        failures: dict[str, list[Any]] = {TARGET: [], "10.2.0.3": []}

        async def rounds(host: str) -> None:
            for _ in range(40):
                row = await icmp(box, host, packets=2, timeout_s=1.0)
                failures[host].append((row["failure"], row["lost"], row["validity"]))

        async with trio.open_nursery() as nursery:
            for host in failures:
                nursery.start_soon(rounds, host)
        return {
            "healthy": sorted(set(failures[TARGET]), key=str),
            "filtered": sorted(set(failures["10.2.0.3"]), key=str),
        }


async def stalled() -> Row:
    """The loop stands still for longer than the timeout while the replies come in."""
    async with scene() as box:
        found: list[Row] = []

        async def note() -> None:
            found.append(await icmp(box, packets=1, timeout_s=0.3))

        async def stand_still() -> None:
            threading.Event().wait(0.6)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(note)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(stand_still)
        return {"rows": found}


async def overflowing() -> Row:
    """More replies arrive during one turn of the loop than the receive buffer holds."""
    async with scene() as box:
        box.pingers[4]._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        found: list[Row] = []

        async def note() -> None:
            found.append(await icmp(box, packets=1, timeout_s=0.3))

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(note)
        return {"rows": found, "drops": box.receive_drops()}


def _answer_oddly(sock: socket.socket, stop: threading.Event) -> None:
    """An echo responder that answers twice, and forges a reply nobody asked for before that."""
    while not stop.is_set():
        try:
            packet, (asker, _) = sock.recvfrom(2048)
        except TimeoutError:
            continue
        body = packet[(packet[0] & 15) * 4 :]
        if body[0] != 8:
            continue
        forged = _echo_reply(body[:8] + bytes(8) + body[16:])
        genuine = _echo_reply(body)
        for reply in (forged, genuine, genuine):
            sock.sendto(reply, (asker, 0))


def _echo_reply(request: bytes) -> bytes:
    blank = b"\0\0\0\0" + request[4:]
    total = sum(struct.unpack(f"!{len(blank) // 2}H", blank))
    total = (total & 0xFFFF) + (total >> 16)
    return b"\0\0" + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + request[4:]


async def answered_twice() -> Row:
    """Somebody forges replies without our token, and the target answers each request twice."""
    async with scene() as box:
        sysctl("net/ipv4/icmp_echo_ignore_all", "1", machine="target")
        sock = on(
            "target", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        sock.settimeout(0.05)
        stop = threading.Event()
        thread = threading.Thread(target=_answer_oddly, args=(sock, stop))
        thread.start()
        try:
            row = await icmp(box, packets=3)
        finally:
            stop.set()
            thread.join()
            sock.close()
        return {"icmp4": row}


async def cancelled() -> Row:
    """Slots that are given up while their replies are on the way, for many rounds."""
    async with scene() as box:
        for _ in range(30):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(icmp, box)
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        pinger = box.pingers[4]
        return {"after": await icmp(box), "waiting": len(pinger._waiting)}


async def behind_a_gateway() -> Row:
    """The way out as the kernel would take it."""
    async with scene():
        batch(f"route add 10.7.0.0/24 via inet6 {netlab.ROUTER6} dev p0")
        hosts = (TARGET, TARGET6, netlab.ROUTER, netlab.PROBE, "10.7.0.1")
        return {host: asdict(way_to(host)) for host in hosts}


async def answered_late() -> Row:
    """The way there has a queue: the first slot's replies come after its deadline."""
    async with scene() as box:
        sysctl("net/ipv4/icmp_echo_ignore_all", "1", machine="target")
        sock = on(
            "target", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        with sock:
            first = await icmp(box, packets=2, timeout_s=0.2)
            for _ in range(2):
                packet, (asker, _) = sock.recvfrom(2048)
                sock.sendto(_echo_reply(packet[(packet[0] & 15) * 4 :]), (asker, 0))
            sysctl("net/ipv4/icmp_echo_ignore_all", "0", machine="target")
            second = await icmp(box, packets=2)
        return {"first": first, "second": second}


async def without_rights() -> Row:
    """A machine that lets nobody open ICMP sockets, and has no IPv6."""
    netlab.build(icmp=False)
    batch("-6 addr flush dev p0")
    async with loopback_box(allow_networks=ALLOWED) as box:
        return {
            "icmp4": await icmp(box),
            "why": unsupported(check(Kind.ICMP, host=TARGET), box),
            "why6": unsupported(check(host="x.test", family=6, port=PORT), box),
            "drops": box.receive_drops(),
        }


STORIES: Final[dict[str, Callable[[], Awaitable[Row]]]] = {
    story.__name__: story
    for story in (
        *(healthy, closed, rejects, reset_by_router, silent, echo_filtered, looping),
        *(nobody_on_the_link, local_routes, local_firewall, out_of_ports, partial_loss, poisoned),
        *(stalled, overflowing, answered_twice, answered_late, without_rights),
        *(cancelled, behind_a_gateway),
    )
}


if __name__ == "__main__":
    print(json.dumps(trio.run(STORIES[sys.argv[1]])))
