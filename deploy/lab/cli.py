"""`soundings demo` and `soundings lab`: real packets on one machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.lab.relay import PAGE_ADDRESS, PAGE_PORT, inherited, open_outside
from deploy.lab.scenario import Scenario, load_scenario, shipped_names
from deploy.lab.services import LabError

GOOD: Final = 0
DISAGREES: Final = 1
USAGE: Final = 2
PERMISSION_MISSING: Final = 9

PORT_MAX: Final = 65_535
_EXITS: Final = """exit codes:
  0 the verdict agrees with what was done   1 it does not, or the world broke   2 usage
  9 a permission is missing (only with --world namespaces; see the text for how to get it)
"""
_DEMO: Final = """example:
  soundings demo --exit --json

Builds a small internet in network namespaces (no root needed where user namespaces are allowed), runs
a real coordinator, two dozen real probes and a platform on it, lets an incident happen, and prints
the verdict and the claim sheet beside the truth. Where namespaces are not permitted it says which
permission is missing and plays on loopback instead.

"""
_LAB: Final = """example:
  soundings lab run overload --exit
  soundings lab run my-incident.toml --exit --keep out/

"""


def main(argv: Sequence[str]) -> int:
    """Run `demo` or `lab`; `argv` begins with that word. Returns the exit code."""
    args = _parser().parse_args(list(argv))
    try:
        if args.command == "lab" and args.action == "list":
            return _list()
        return _run(args)
    except LabError as error:
        print(f"soundings {args.command}: {error}", file=sys.stderr)
        return DISAGREES
    except KeyboardInterrupt:
        return 130


def _list() -> int:
    for name in shipped_names():
        print(f"{name:<16} {load_scenario(name).title}")
    return GOOD


def _run(args: argparse.Namespace) -> int:
    # Imported here, so that --help answers at once.
    from deploy.lab.namespace import enter_sandbox, is_inside  # noqa: PLC0415

    scenario = load_scenario(args.scenario)  # a typing mistake shows before anything is built
    world = args.world
    if not is_inside(os.environ):
        world = world if world == "loopback" else _permitted(world)
        if world is None:
            return PERMISSION_MISSING
        if not open_outside(os.environ, args.port):
            taken = f"{PAGE_ADDRESS}:{args.port} is taken"
            print(f"{taken}: running without the page (--port chooses another)", file=sys.stderr)
    if world != "loopback":
        enter_sandbox()  # starts this program again, inside; a second call returns
    return _play(args, scenario, "loopback" if world == "loopback" else "namespaces")


def _permitted(world: str) -> str | None:
    """The world that can be had: the lab, loopback in its stead, or none that was asked for."""
    from deploy.lab.preflight import check  # noqa: PLC0415 - as above

    found = check()
    if found.can_run:
        return "namespaces"
    print(found.text(), file=sys.stderr)
    if world == "namespaces":
        return None
    print("Playing on loopback instead: real probes, no network between them.", file=sys.stderr)
    return "loopback"


def _play(args: argparse.Namespace, scenario: Scenario, world: str) -> int:
    from deploy.lab.demo import Asked, run_demo  # noqa: PLC0415 - as above

    return run_demo(
        Asked(
            scenario=scenario,
            world=world,
            leave=args.exit,
            as_json=args.json,
            keep=args.keep,
            listener=inherited(os.environ),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="soundings")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = _command(commands, "demo", "Play an incident on a small internet and judge it.", _DEMO)
    demo.add_argument(
        "--scenario", default="overload", metavar="NAME|FILE", help="what happens (overload)"
    )
    _play_options(demo)
    lab = _command(commands, "lab", "Run scenarios with real packets on this machine.", _LAB)
    actions = lab.add_subparsers(dest="action", required=True)
    run = _command(actions, "run", "Play one scenario.", _LAB)
    run.add_argument("scenario", metavar="NAME|FILE")
    _play_options(run)
    _command(actions, "list", "List the scenarios that come along.", _LAB)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, more: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=more + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; a port is 0 to {PORT_MAX}")
    return int(text)


def _play_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--exit", action="store_true", help="end after the verdict instead of leaving the page open"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the world's files here")
    parser.add_argument(
        "--port", type=_port, default=PAGE_PORT, help=f"of the page ({PAGE_PORT}; 0 = any free one)"
    )
    parser.add_argument(
        "--world",
        choices=("auto", "namespaces", "loopback"),
        default="auto",
        help="where to play (auto: namespaces, or loopback where they are not permitted)",
    )
