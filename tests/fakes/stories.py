"""What happens to checks on three machines; each story runs in a process of its own.

A story sets the scene, runs real checks, and returns rows as plain values for its test to judge.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Final

import trio

from probe.io.ways import way_to
from tests.fakes import netlab
from tests.fakes.echo_stories import ECHO_STORIES
from tests.fakes.netlab import TARGET, TARGET6, batch, rules
from tests.fakes.scenes import PORT, Row, all_ways, icmp, scene, tcp, told_at_once

STRANGER: Final = "9.9.9.9"


async def healthy() -> Row:
    """Nothing is wrong."""
    async with scene() as box:
        return await all_ways(box)


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
    """This machine's own table leads nowhere."""
    async with scene() as box:
        for kind, number in (("unreachable", 4), ("blackhole", 6)):
            batch(f"route add {kind} 10.{number}.0.0/24")
            batch(f"-6 route add {kind} fd0{number}::/64")
        return {
            kind: await all_ways(box, f"10.{number}.0.1", f"fd0{number}::1")
            for kind, number in (("unreachable", 4), ("blackhole", 6))
        }


async def a_syn_lost() -> Row:
    """The way swallows every first SYN; the second time our loop stands still meanwhile."""
    async with scene() as box:
        rules(f"tcp dport {PORT} tcp flags & (syn | ack) == syn numgen inc mod 2 < 1 drop")
        calm = await tcp(box)
        found: list[Row] = []

        async def note() -> None:
            found.append(await tcp(box))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note)
            await trio.lowlevel.checkpoint()
            threading.Event().wait(1.6)
        return {"calm": calm, "stalled": found[0]}


async def behind_a_gateway() -> Row:
    """The way out as the kernel would take it."""
    async with scene():
        batch(f"route add 10.7.0.0/24 via inet6 {netlab.ROUTER6} dev p0")
        hosts = (TARGET, TARGET6, netlab.ROUTER, netlab.PROBE, "10.7.0.1")
        return {host: asdict(way_to(host)) for host in hosts}


async def an_address_comes_and_goes() -> Row:
    """An address is nobody's, this machine's, for a moment without descriptors, nobody's again."""
    async with scene() as box:

        def is_barred() -> bool:
            return box.why_barred(STRANGER) is not None

        batch(f"link set lo up\nroute add {STRANGER}/32 via {netlab.ROUTER}")
        found = [is_barred(), is_barred()]
        batch(f"addr add {STRANGER}/32 dev lo")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        unknown = is_barred()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        found += [unknown, is_barred(), is_barred()]
        batch(f"addr del {STRANGER}/32 dev lo")
        return {"barred": [*found, is_barred()]}


STORIES: Final[dict[str, Callable[[], Awaitable[Row]]]] = {
    story.__name__: story
    for story in (
        *(healthy, silent, echo_filtered),
        *(nobody_on_the_link, local_routes, a_syn_lost, behind_a_gateway),
        an_address_comes_and_goes,
    )
}


if __name__ == "__main__":
    print(json.dumps(trio.run((STORIES | ECHO_STORIES)[sys.argv[1]])))
