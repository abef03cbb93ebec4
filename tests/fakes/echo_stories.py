"""What happens to echo requests; told twice, with datagram sockets and with raw ones."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
import trio

from probe.core.limits import TRACES_MAX
from probe.io.box import Toolbox
from probe.io.icmp import Pinger
from probe.io.trace import run_trace
from probe.toolbox import run_check, unsupported
from proto.model import Kind
from tests.fakes import netlab
from tests.fakes.boxes import loopback_box
from tests.fakes.checks import check
from tests.fakes.netlab import TARGET, TARGET6, batch, on, rules, sysctl
from tests.fakes.scenes import ALLOWED, PORT, Row, icmp, scene, told_at_once

REJECTS: Final = {
    "rejected": ("port-unreachable", "port-unreachable"),
    "prohibited": ("admin-prohibited", "admin-prohibited"),
    "host_unreachable": ("host-unreachable", "addr-unreachable"),
    "net_unreachable": ("net-unreachable", "no-route"),
}


async def both(box: Toolbox, host: str = TARGET, host6: str = TARGET6, **fields: Any) -> Row:
    """Echo requests over both families."""
    return await told_at_once(icmp4=icmp(box, host, **fields), icmp6=icmp(box, host6, **fields))


async def answered() -> Row:
    """Nothing is wrong."""
    async with scene() as box:
        return {**await both(box), "raw": [box.pingers[family].is_raw for family in (4, 6)]}


async def _way(box: Toolbox, host: str) -> Row:
    family = 6 if ":" in host else 4
    one = check(Kind.TRACE, host=host, family=family, timeout_s=2.0)
    row = (await run_check(one, box)).result
    return {
        "failure": row.failure,
        "stamp_source": row.stamp_source,
        "hops": [[hop.ttl, hop.router] for hop in row.hops if hop.rtt_us is not None],
    }


async def traced() -> Row:
    """The way to the target by ICMP, in both families at once and beside echoes of other checks."""
    async with scene() as box:
        return await told_at_once(icmp4=_way(box, TARGET), icmp6=_way(box, TARGET6), echo=icmp(box))


async def traced_without_the_right() -> Row:
    """Its sockets are open, the right to open raw ones is given up: traces at once, and one more."""
    async with scene() as box:
        give_up_raw_sockets()
        at_once = {str(number): _way(box, TARGET) for number in range(TRACES_MAX)}
        first = await told_at_once(**at_once, icmp6=_way(box, TARGET6))
        return {**first, "more": await _way(box, TARGET), "more6": await _way(box, TARGET6)}


async def stamped_both_ways() -> Row:
    """The kernel stamps what leaves as well, also after sends that failed."""
    async with scene(tx_stamps=True) as box:
        first = await both(box, packets=5)
        rules("icmp type echo-request drop", machine=None, hook="output")
        denied = await icmp(box, packets=3)
        rules("", machine=None, hook="output")
        return {"first": first, "denied": denied, "after": await both(box, packets=5)}


async def refused() -> Row:
    """The router answers for the target in each of its ways; and a prefix that loops."""
    found: Row = {}
    async with scene() as box:
        for word, (how4, how6) in REJECTS.items():
            rules(
                f"ip daddr {TARGET} reject with icmp {how4}\n"
                f"ip6 daddr {TARGET6} reject with icmpv6 {how6}"
            )
            found[word] = await both(box, timeout_s=1.0)
        rules("")
        batch(f"route add 10.3.0.0/24 via {TARGET}", machine="router")
        batch(f"-6 route add fd03::/64 via {TARGET6}", machine="router")
        sysctl("net/ipv4/ip_forward", "1", machine="target")
        sysctl("net/ipv6/conf/all/forwarding", "1", machine="target")
        found["ttl_exceeded"] = await both(box, "10.3.0.1", "fd03::1", timeout_s=1.0)
    return found


async def beside_strangers() -> Row:
    """Another program pings while our receiver does not run: what it is sent must not reach us."""
    async with scene():
        return {host: await _overheard(host) for host in (TARGET, TARGET6)}


async def _overheard(host: str) -> list[str | None]:
    """What another socket heard of its 20 requests; ours heard nothing."""
    family = 6 if ":" in host else 4
    ours, theirs = Pinger(family), Pinger(family)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.run)
            deadline = trio.current_time() + 1.0
            echoes = await theirs.echo(host, count=20, deadline=deadline, spacing_s=0.0)
            nursery.cancel_scope.cancel()
        with pytest.raises(BlockingIOError):
            ours._sock.recv(1)
    finally:
        ours.close()
        theirs.close()
    return [answer.failure for answer in echoes.answers]


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


async def answered_late() -> Row:
    """The way there has a queue: replies come after the deadline, and after we stopped looking."""
    async with scene() as box:
        sysctl("net/ipv4/icmp_echo_ignore_all", "1", machine="target")
        sock = on(
            "target", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        with sock:
            late: list[Row] = []

            async def note() -> None:
                late.append(await icmp(box, packets=2, timeout_s=0.2))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(note)
                with trio.move_on_after(0.4):
                    await trio.sleep_forever()
                held = [sock.recvfrom(2048) for _ in range(2)]
                _reply_to(sock, held)
            silent = await icmp(box, packets=2, timeout_s=0.2)
            held = [sock.recvfrom(2048) for _ in range(2)]
            sysctl("net/ipv4/icmp_echo_ignore_all", "0", machine="target")
            _reply_to(sock, held)
            after = await icmp(box, packets=2)
        return {"late": late[0], "silent": silent, "after": after}


def _reply_to(sock: socket.socket, requests: list[tuple[bytes, Any]]) -> None:
    for packet, (asker, _) in requests:
        sock.sendto(_echo_reply(packet[(packet[0] & 15) * 4 :]), (asker, 0))


_CAP_NET_RAW: Final = 13
_CAPABILITIES_V3: Final = 0x20080522


def give_up_raw_sockets() -> None:
    """Drop CAP_NET_RAW from what this process may do."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = struct.pack("=Ii", _CAPABILITIES_V3, 0)
    sets = ctypes.create_string_buffer(24)
    assert libc.capget(head, sets) == 0, errno.errorcode[ctypes.get_errno()]
    words = list(struct.unpack("=6I", sets.raw))
    words[:3] = [word & ~(1 << _CAP_NET_RAW) for word in words[:3]]
    assert libc.capset(head, struct.pack("=6I", *words)) == 0, errno.errorcode[ctypes.get_errno()]


async def without_rights() -> Row:
    """A machine that lets nobody open ICMP sockets, and has no IPv6."""
    netlab.build(icmp=False)
    give_up_raw_sockets()
    batch("-6 addr flush dev p0")
    async with loopback_box(allow_networks=ALLOWED) as box:
        return {
            "icmp4": await icmp(box),
            "why": unsupported(check(Kind.ICMP, host=TARGET), box),
            "trace": await _late_trace(box),
            "why6": unsupported(check(host="x.test", family=6, port=PORT), box),
            "drops": box.receive_drops(),
        }


async def _late_trace(box: Toolbox) -> Row:
    """A trace whose probe opened its sockets when it still had the right to."""
    found = await run_trace(check(Kind.TRACE, host=TARGET), box)
    row = found.result
    return {"state": row.state, "reason": row.reason, "why": found.attempts[-1].detail}


ECHO_STORIES: Final[dict[str, Callable[[], Awaitable[Row]]]] = {
    story.__name__: story
    for story in (
        *(answered, traced, traced_without_the_right, stamped_both_ways, refused),
        *(beside_strangers, partial_loss, poisoned),
        *(stalled, overflowing, answered_twice, answered_late, cancelled, without_rights),
    )
}
