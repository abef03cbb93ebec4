"""`soundings probe doctor`: what this machine can measure, what it cannot, and how to repair it.

Reads and tries; changes nothing. Packets go to loopback, to the configured name servers, to the hosts
named by `--against` and, once enrolled, to the coordinator and the anchors of the stored plan.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from probe.against import Target, anchors_of, named, read_ways
from probe.core import doctor as core
from probe.core.finding import ENDS, as_data, exit_code, render
from probe.core.keeping import SpoolReading, StateReading
from probe.core.memory import AddressMemory
from probe.exits import Exit, ProbeError
from probe.explain import add_vantage_arguments, toolbox_settings, vantage_settings
from probe.io import hostfacts
from probe.io.clock import kernel_clock, wall_us
from probe.io.disk import Spool, SpoolError, SpoolSettings, StillDisk
from probe.io.recollection import FILE as MEMORY_FILE
from probe.io.rpc import split_endpoint
from probe.io.sightings import kept_sighting
from probe.io.state import DEFAULT_STATE, StateDirectory
from probe.io.tls import verifying_context
from probe.plans import stored_plan
from probe.resolving import read_resolvers
from probe.settings import Settings
from probe.toolbox import Toolbox, open_toolbox
from proto.model import WireError

EXAMPLES: Final = f"""examples:
  soundings probe doctor
  soundings probe doctor --against example.org --against 192.0.2.7:80
  sudo -u soundings-probe soundings probe doctor --json

Run it as the user that will run the probe: rights differ. Hosts that --against names are each asked
for three connections, three echoes and two traces.

exit codes here: {"; ".join(f"{code.value} {meaning}" for code, meaning in ENDS.items())}

"""
_SYSTEMD: Final = Path("/run/systemd/system")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `soundings probe doctor`."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="compare connections and echoes by this host, too (port 443); can be repeated",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help=f"the probe's state directory (default {DEFAULT_STATE})",
    )
    add_vantage_arguments(parser, usual="DIR/probe.toml")


def run(args: argparse.Namespace) -> int:
    """`soundings probe doctor` in a loop of its own. Raises ConfigError."""
    return trio.run(doctor, args)


async def doctor(args: argparse.Namespace) -> int:
    """Examine this machine, print the findings, and say how it stands as an exit code."""
    try:
        settings = toolbox_settings(args)
        for text in args.against:
            named(text, ())
    except ValueError as error:
        print(f"soundings probe doctor: {error}", file=sys.stderr)
        return Exit.USAGE
    async with open_toolbox(settings, wall=wall_us()) as box:
        readings = await _read(
            box, StateDirectory(args.state), vantage_settings(args), args.against
        )
    findings = core.examine(readings)
    print(
        json.dumps(as_data(findings), indent=2) if args.json else render(findings),
        end="\n" if args.json else "",
    )
    return exit_code(findings)


async def _read(
    box: Toolbox, state: StateDirectory, settings: Settings, against: list[str]
) -> core.Readings:
    kept = _kept(state, settings.spool, now_us=box.wall())
    door = _door(state)
    targets = [
        *([] if door is None else [door]),
        *anchors_of(kept.checks),
        *(target for text in against for target in named(text, box.families)),
    ]
    hosts, ways = await read_ways(box, settings.limits, targets)
    clock = kernel_clock()
    return core.Readings(
        without_icmp=box.without_icmp,
        raw_icmp=frozenset(family for family, pinger in box.pingers.items() if pinger.is_raw),
        trace_sockets={family: len(socks) for family, socks in box.trace_sockets.items()},
        families=frozenset(box.families),
        stamps_warm=box.stamps_warm,
        send_stamps=await hostfacts.has_send_stamps(),
        error_queue=await hostfacts.has_error_queue(),
        resolvers=await read_resolvers(box.resolvers()),
        authorities=_count_authorities(box),
        clock=core.ClockReading(
            synchronised=None if clock is None else clock.synchronised,
            bound_us=None if clock is None else clock.bound_us,
            correction_ppm=None if clock is None else clock.correction_ppm,
        ),
        receive_buffer_max_bytes=hostfacts.number_in(hostfacts.RECEIVE_BUFFER_MAX),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        uid=os.geteuid(),
        capabilities=hostfacts.capabilities(),
        has_systemd=_SYSTEMD.is_dir(),
        local_ports=hostfacts.local_ports(),
        limits=settings.limits,
        state=kept,
        coordinator=None if door is None else hosts[0],
        hosts=hosts,
        ways=ways,
    )


def _door(state: StateDirectory) -> Target | None:
    """The coordinator's fleet door; None: not enrolled, or the state is another user's."""
    try:
        host, port = split_endpoint(state.identity().endpoint.fleet[0])
    except ProbeError:
        return None
    return Target(host, port, 6 if ":" in host else 4)


def _kept(state: StateDirectory, spool: SpoolSettings, *, now_us: int) -> StateReading:
    """What the state directory holds; nothing, where there is none or it is another user's."""
    found = StateReading(free_mib=hostfacts.free_mib(state.path))
    try:
        identity = state.identity()
        memory = state.read(MEMORY_FILE)
        found = replace(found, sighting=kept_sighting(state))
    except ProbeError as error:
        return found if error.code is Exit.BAD_CONFIG else replace(found, spool_trouble=str(error))
    names = _remembered(memory, now_us=now_us)
    found = _with_spool(replace(found, remembered=names), state, spool, now_us=now_us)
    try:
        plan = stored_plan(state, probe_id=identity.endpoint.probe_id)
    except WireError as error:
        return replace(found, plan_trouble=f"the stored one is refused: {error}")
    if plan is None:
        return replace(found, plan_trouble="none is stored yet")
    words = (
        f"version {plan.version}, {len(plan.checks)} checks, for probe {identity.endpoint.probe_id}"
    )
    return replace(found, checks=plan.checks, plan=words)


def _remembered(content: bytes | None, *, now_us: int) -> int:
    try:
        memory = AddressMemory() if content is None else AddressMemory.load(content)
    except ValueError:
        return 0
    return memory.young(now_us=now_us)


def _with_spool(
    found: StateReading, state: StateDirectory, settings: SpoolSettings, *, now_us: int
) -> StateReading:
    if not state.spool.is_dir():
        return found
    try:
        spool = Spool(StillDisk(state.spool), settings=settings, now_us=now_us)
        oldest = spool.read(after=(0, 0), limit=1)
    except (OSError, SpoolError) as error:
        return replace(found, spool_trouble=str(error))
    reading = SpoolReading(
        rows=spool.rows,
        size_bytes=spool.size_bytes,
        cap_bytes=settings.cap_bytes,
        evicted_rows=spool.evicted_rows,
        oldest_age_s=(now_us - oldest[0].record.first_at_us) / 1e6 if oldest else None,
    )
    return replace(found, spool=reading)


def _count_authorities(box: Toolbox) -> int | None:
    count = int(verifying_context(box).cert_store_stats()["x509_ca"])
    directory = ssl.get_default_verify_paths().capath
    if count == 0 and box.settings.ca_file is None and directory and any(os.scandir(directory)):
        return None
    return count
