"""`soundings probe doctor`: what this machine can measure, what it cannot, and how to repair it.

Reads and tries; changes nothing. Packets go to loopback, to the configured name servers and, once
enrolled, to the coordinator.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import ssl
import sys
from pathlib import Path
from typing import Final

import trio

from probe.core import doctor as core
from probe.core.endpoint import Endpoint
from probe.core.outcome import Refusal
from probe.exits import Exit, ProbeError
from probe.explain import add_vantage_arguments, toolbox_settings
from probe.io import errqueue
from probe.io.clock import synchronised, wall_us
from probe.io.dns import Question, ask
from probe.io.link import split_endpoint
from probe.io.state import DEFAULT_STATE, StateDirectory
from probe.io.tls import verifying_context
from probe.toolbox import Toolbox, open_toolbox, run_check
from proto.model import Check, Kind, Result

EXAMPLES: Final = """examples:
  soundings probe doctor
  sudo -u soundings-probe soundings probe doctor --json

Run it as the user that will run the probe: rights differ.

exit codes here: 0 nothing is missing, 1 something is, 3 bad configuration, 9 the permission to
send ICMP is missing.

"""
RESOLVER_TIMEOUT_S: Final = 2.0
"""A resolver that is slower than this fails checks of names all the time."""

COORDINATOR_TIMEOUT_S: Final = 5.0
"""As long as a usual check waits."""

_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_UNREACHABLE_WAIT_S: Final = 1.0
_RECEIVE_BUFFER_MAX: Final = Path("/proc/sys/net/core/rmem_max")
_STATUS: Final = Path("/proc/self/status")
_SYSTEMD: Final = Path("/run/systemd/system")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `soundings probe doctor`."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help=f"the probe's state directory (default {DEFAULT_STATE})",
    )
    add_vantage_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """`soundings probe doctor` in a loop of its own. Raises ConfigError."""
    return trio.run(doctor, args)


async def doctor(args: argparse.Namespace) -> int:
    """Examine this machine, print the findings, and say how it stands as an exit code."""
    try:
        settings = toolbox_settings(args)
    except ValueError as error:
        print(f"soundings probe doctor: {error}", file=sys.stderr)
        return Exit.USAGE
    async with open_toolbox(settings, wall=wall_us()) as box:
        findings = core.examine(await _read(box, args.state))
    print(
        json.dumps(core.as_data(findings), indent=2) if args.json else core.render(findings),
        end="\n" if args.json else "",
    )
    return core.exit_code(findings)


async def _read(box: Toolbox, state: Path) -> core.Readings:
    return core.Readings(
        without_icmp=box.without_icmp,
        raw_icmp=frozenset(family for family, pinger in box.pingers.items() if pinger.is_raw),
        families=frozenset(box.families),
        stamps_warm=box.stamps_warm,
        error_queue=await _has_error_queue(),
        resolvers=tuple([await _ask_root(server) for server in box.resolvers()]),
        authorities=_count_authorities(box),
        clock_synchronised=synchronised(),
        receive_buffer_max_bytes=_number_in(_RECEIVE_BUFFER_MAX),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        uid=os.geteuid(),
        capabilities=_capabilities(),
        has_systemd=_SYSTEMD.is_dir(),
        local_ports=_local_ports(),
        free_mib=_free_mib(state),
        coordinator=await _reach_coordinator(box, StateDirectory(state)),
    )


async def _reach_coordinator(box: Toolbox, state: StateDirectory) -> core.CoordinatorReading | None:
    """Connect to the fleet door as a check would, and send its host an echo request."""
    try:
        endpoint = state.identity().endpoint.fleet[0]
        host, port = split_endpoint(endpoint)
    except ProbeError:
        return None  # not enrolled, or the state is another user's
    connection = await _once(box, Kind.TCP, host, port=port)
    echo = await _once(box, Kind.ICMP, host, port=None)
    failed = connection.failure or connection.reason
    return core.CoordinatorReading(
        endpoint=endpoint,
        tcp_rtt_us=connection.rtt_us_min,
        icmp_rtt_us=echo.rtt_us_min,
        trouble=None if failed is None else f"{connection.operation or 'not tried'}: {failed}",
    )


async def _once(box: Toolbox, kind: Kind, host: str, *, port: int | None) -> Result:
    family = 6 if ":" in host else 4
    check = Check(
        check_no=0,
        check_id="doctor",
        kind=kind,
        host=host,
        port=port,
        family=family,
        timeout_s=COORDINATOR_TIMEOUT_S,
    )
    return (await run_check(check, box)).result


def _local_ports() -> int | None:
    try:
        low, high = map(int, _PORT_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return high - low + 1


def _free_mib(state: Path) -> float | None:
    try:
        found = os.statvfs(state)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize / (1 << 20)


async def _has_error_queue() -> bool:
    """Does a closed loopback port come back as an ICMP error with its sender?"""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
    ):
        try:
            closed.bind(("127.0.0.1", 0))
            errqueue.switch_on(sock)
            sock.connect(closed.getsockname())
            closed.close()
            sock.send(b"anybody?")
        except OSError:
            return False
        with trio.move_on_after(_UNREACHABLE_WAIT_S):
            await trio.lowlevel.wait_readable(sock)
        return errqueue.take_icmp(sock) is not None


async def _ask_root(server: Endpoint) -> core.ResolverReading:
    """Ask for the name servers of the root: every resolver knows them."""
    deadline = trio.current_time() + RESOLVER_TIMEOUT_S
    answer = await ask(Question(name=".", qtype="NS", deadline=deadline), (server,))
    if isinstance(answer, Refusal):
        why = f"{answer.attempt.classified_by} ({answer.attempt.detail})"
        return core.ResolverReading(server=str(server), rtt_us=None, trouble=why)
    rcode = answer.reply.rcode
    trouble = None if rcode == 0 else f"answers with rcode {rcode}"
    return core.ResolverReading(server=str(server), rtt_us=answer.rtt_us, trouble=trouble)


def _count_authorities(box: Toolbox) -> int | None:
    count = int(verifying_context(box).cert_store_stats()["x509_ca"])
    directory = ssl.get_default_verify_paths().capath
    if count == 0 and box.settings.ca_file is None and directory and any(os.scandir(directory)):
        return None
    return count


def _capabilities() -> int:
    """The effective capabilities; none where /proc does not say."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
