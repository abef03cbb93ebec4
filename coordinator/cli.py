"""`soundings coordinator`: run the server, check its configuration, make tokens, look after probes."""

from __future__ import annotations

import argparse
import asyncio
import gc
import getpass
import json
import os
import re
import signal
import sys
from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from coordinator.app import Launch, coordinator, wall_us
from coordinator.asking_cli import either
from coordinator.ca_cli import add_ca_commands
from coordinator.config_cli import add_config_commands
from coordinator.configs import load_config
from coordinator.core.advice import advice
from coordinator.core.planner import check_ids
from coordinator.core.redacting import redact
from coordinator.core.registry import Vantage
from coordinator.core.roster import HEAD, full, line
from coordinator.ending import STOP_S_MAX, Ending
from coordinator.exits import CoordinatorError, Exit
from coordinator.networks import network_files, read_files
from coordinator.parsing import DEFAULT_CONFIG, add_command, add_data, described, key_value
from coordinator.rpc.operator import NotRunningError, Operator
from coordinator.services import SERVICES
from coordinator.store_cli import add_store_commands
from proto.model import ConfigError

T = TypeVar("T")

_RUN: Final = """example:
  soundings coordinator run --config soundings.toml --data /var/lib/soundings

Serves until SIGTERM or SIGINT; then commits and acknowledges what it took, tells probes when to come
back, and ends within 45 s; a second signal ends it at once (code 128 and its number). The
configuration is read anew when it changes and on SIGHUP; a bad file leaves the plan in force.

"""
_CHECK: Final = """example:
  soundings coordinator check-config soundings.toml

Prints every finding at once, each with file, key, value and fix.

"""
_INVITE: Final = """example:
  soundings coordinator token create --asn 64512 --country DE --provider hoster --label tier=vps

Prints a token for one probe. What you declare here is stamped on every row of that probe, so let
it be true. The text is shown once and kept nowhere.

"""
_PROBES: Final = """example:
  soundings coordinator probes list --json
  soundings coordinator probes show fra-1
  soundings coordinator probes quarantine fra-1 --reason "reports pages that nobody served"
  soundings coordinator probes trust fra-1 --reason "its disk was replayed, now wiped"
  soundings coordinator probes revoke p0a1b2c3d4e5f

"""
_TRACE: Final = """example:
  soundings coordinator trace x/spaces --probes 3
  soundings coordinator trace x/spaces --probes fra-1,lon-2

Asks probes that are connected to the running coordinator; their packets will be in the table hops.

"""
GC_THRESHOLD: Final = (10_000, 20, 50)
"""Every message of every session makes objects that no cycle holds: at the usual 700 the collector looked
through all sessions so often that it took a twelfth of the processor."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def main(argv: Sequence[str]) -> int:
    """Run one subcommand; `argv` begins with its name. Returns the exit code."""
    args = _parser().parse_args(argv)
    log_to_stderr()
    try:
        code: int = args.act(args)
    except CoordinatorError as error:
        print(f"soundings coordinator: {error}", file=sys.stderr)
        return error.code
    except PermissionError as error:
        print(
            f"soundings coordinator: {error.filename or error}: this user may not use it; "
            "run the command as the coordinator's user, or name another --data",
            file=sys.stderr,
        )
        return Exit.DATA_UNUSABLE
    except ConfigError as error:
        print(f"soundings coordinator: bad configuration:\n{error}", file=sys.stderr)
        return Exit.BAD_CONFIG
    return code


def log_to_stderr() -> None:
    """One canonical line per occurrence, key=value, control characters escaped."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            _without_secrets,
            structlog.processors.LogfmtRenderer(key_order=["at", "level", "event"]),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def _without_secrets(_logger: object, _method: str, line: MutableMapping[str, Any]) -> Any:
    """Nobody logs a secret; what somebody else's words hold is another matter."""
    return {key: redact(value) if isinstance(value, str) else value for key, value in line.items()}


def _parser() -> argparse.ArgumentParser:
    parser = described("soundings coordinator", _RUN, "Collect what probes see, and judge it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = add_command(commands, "run", _RUN, "Run the server.")
    run.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="soundings.toml")
    add_data(run)
    run.set_defaults(act=_run)
    check = add_command(commands, "check-config", _CHECK, "Check a configuration file.")
    check.add_argument("file", type=Path)
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(act=_check_config)
    token = add_command(commands, "token", _INVITE, "Make enrolment tokens.")
    _add_token(token.add_subparsers(required=True, metavar="COMMAND"))
    probes = add_command(
        commands, "probes", _PROBES, "List, show, quarantine, trust or revoke probes."
    )
    _add_probes(probes.add_subparsers(required=True, metavar="COMMAND"))
    trace = add_command(commands, "trace", _TRACE, "Ask probes for the way to a target, now.")
    trace.add_argument("target", type=_component, metavar="SERVICE/COMPONENT")
    trace.add_argument(
        "--probes", default="0", metavar="N|NAMES", help="how many, or which (default: up to 50)"
    )
    add_data(trace)
    trace.set_defaults(act=_trace)
    add_config_commands(commands)
    add_store_commands(commands)
    add_ca_commands(commands)
    return parser


def _add_token(commands: Any) -> None:
    create = add_command(commands, "create", _INVITE, "Make a token for one probe.")
    create.add_argument("--name", default="", help="short name of the vantage point")
    create.add_argument("--asn", type=int, help="AS number the vantage point sits in")
    create.add_argument("--country", help="two letters, such as DE")
    create.add_argument("--provider", help="who runs the machine")
    create.add_argument(
        "--label",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="repeatable",
    )
    create.add_argument("--ttl", type=_span_s, default=86_400, metavar="24h", help="good for")
    create.add_argument("--json", action="store_true", help="print JSON")
    add_data(create)
    create.set_defaults(act=_create_token)


def _add_probes(commands: Any) -> None:
    listing = add_command(commands, "list", _PROBES, "List every probe.")
    listing.add_argument("--json", action="store_true", help="print JSON")
    add_data(listing)
    listing.set_defaults(act=_list_probes)
    show = add_command(commands, "show", _PROBES, "Show all that is known of one probe.")
    show.add_argument("probe", metavar="NAME|ID")
    show.add_argument("--json", action="store_true", help="print JSON")
    add_data(show)
    show.set_defaults(act=_show_probe)
    revoke = add_command(commands, "revoke", _PROBES, "Refuse a probe from now on, for ever.")
    revoke.add_argument("probe_id")
    add_data(revoke)
    revoke.set_defaults(act=_revoke)
    for name, lift, what in (
        ("quarantine", False, "Let a probe weigh nothing; its rows stay and go on coming."),
        ("trust", True, "Let a probe count again, whatever it did before."),
    ):
        command = add_command(commands, name, _PROBES, what)
        command.add_argument("probe_id", metavar="NAME|ID")
        command.add_argument("--reason", required=True, help="kept with the probe's rows")
        add_data(command)
        command.set_defaults(act=_quarantine, lift=lift)


def _component(text: str) -> tuple[str, str]:
    service, slash, component = text.partition("/")
    if not (service and slash and component):
        raise argparse.ArgumentTypeError(f"{text!r} is not SERVICE/COMPONENT")
    return service, component


def _span_s(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a span such as 30m, 24h or 7d")
    return int(match[1]) * _UNITS[match[2]]


# --- what they do -------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    launch = Launch(
        config_file=args.config, data_dir=args.data, services=SERVICES, environment=os.environ
    )
    asyncio.run(serve(launch))
    return Exit.GOOD


async def serve(launch: Launch, *, bound_s: float = STOP_S_MAX) -> None:
    """Run a coordinator until a signal; say on stdout when and where it is ready.

    The signals are caught before `ready` is printed: who waits for it may stop us at once. It ends
    within `bound_s` of the first one, or at once with the second.
    """
    loop = asyncio.get_running_loop()
    ending = Ending(bound_s=bound_s)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.ask, number)
    loop.add_signal_handler(
        signal.SIGHUP, lambda: None
    )  # before it is ready it reads its file anyway
    async with coordinator(launch) as runtime:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        loop.add_signal_handler(signal.SIGHUP, runtime.configs.ask)
        doors = " ".join(f"{door}={where}" for door, where in runtime.addresses.items())
        print(f"ready {doors}", flush=True)
        await ending.wait()
    gc.unfreeze()  # or DuckDB's bindings call everything frozen a leak, in a hundred lines
    structlog.get_logger("coordinator").info("stopped")


def _check_config(args: argparse.Namespace) -> int:
    try:
        config, _ = load_config(args.file, loaded_at_us=wall_us())
        paths = network_files(args.file, config)
        ranges = sum(len(one.table) for one in read_files(paths, read_at_us=wall_us()))
    except ConfigError as error:
        if not args.json:
            raise
        print(json.dumps({"good": False, "findings": list(error.findings)}))
        return Exit.BAD_CONFIG
    counts = {
        "services": len(config.services),
        "components": sum(len(service.components) for service in config.services),
        "anchors": len(config.anchors),
        "groups": len(config.groups),
        "checks": len(check_ids(config)),
        **({"ranges of networks": ranges} if paths else {}),
    }
    if args.json:
        print(json.dumps({"good": True, "findings": [], "advice": advice(config), **counts}))
    else:
        print(f"{args.file}: good: {', '.join(f'{n} {what}' for what, n in counts.items())}")
        for text in advice(config):
            print(f"{args.file}: advice: {text}")
    return Exit.GOOD


def _create_token(args: argparse.Namespace) -> int:
    vantage = Vantage(
        asn=args.asn, country=args.country, provider=args.provider, labels=dict(args.label)
    )
    made = either(
        args.data, lambda door: door.create_token(name=args.name, vantage=vantage, ttl_s=args.ttl)
    )
    if args.json:
        print(json.dumps(made))
    else:
        print(made["token"])
        until = datetime.fromtimestamp(made["expires_at_us"] / 1_000_000, tz=UTC)
        print(f"for {made['name']}, once, until {until:%Y-%m-%d %H:%M} UTC", file=sys.stderr)
    return Exit.GOOD


def _list_probes(args: argparse.Namespace) -> int:
    probes = either(args.data, lambda door: door.list_probes())
    if args.json:
        print(json.dumps(probes))
        return Exit.GOOD
    print(HEAD)
    for probe in probes:
        print(line(probe))
    return Exit.GOOD


def _show_probe(args: argparse.Namespace) -> int:
    probes = either(args.data, lambda door: door.list_probes())
    found = [probe for probe in probes if args.probe in {probe["probe_id"], probe["name"]}]
    if not found:
        raise CoordinatorError(
            f"no probe {args.probe!r}; `soundings coordinator probes list` shows all",
            code=Exit.USAGE,
        )
    for probe in found:
        print(json.dumps(probe) if args.json else "\n".join(full(probe, now_us=wall_us())))
    return Exit.GOOD


def _revoke(args: argparse.Namespace) -> int:
    print(either(args.data, lambda door: door.revoke(args.probe_id, by=_user())))
    return Exit.GOOD


def _quarantine(args: argparse.Namespace) -> int:
    print(
        either(
            args.data,
            lambda door: door.quarantine(
                args.probe_id, lift=args.lift, reason=args.reason, by=_user()
            ),
        )
    )
    return Exit.GOOD


def _user() -> str:
    """Who asks, for the record: behind sudo the person and not root."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _trace(args: argparse.Namespace) -> int:
    service, component = args.target
    is_count = args.probes.isdecimal()
    names = [] if is_count else args.probes.split(",")
    operator = Operator(args.data / "admin.sock")
    try:
        asked = operator.trace(
            service, component, names=names, count=min(int(args.probes), 1000) if is_count else 0
        )
        print(asyncio.run(asked))
    except NotRunningError as error:
        raise CoordinatorError(
            f"no coordinator runs with --data {args.data}, and only a running one can ask probes",
            code=Exit.USAGE,
        ) from error
    return Exit.GOOD
