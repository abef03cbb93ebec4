"""`soundings coordinator ca`: change the key that everything rests on."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any, Final

from coordinator.asking_cli import either
from coordinator.exits import Exit
from coordinator.parsing import add_command, add_data

_CA: Final = """example:
  soundings coordinator ca show
  soundings coordinator ca rotate
  soundings coordinator ca retire --force

Rotate makes a new CA beside the old one. Sessions go on, certificates of both get in, and what is new is
signed by the new; probes follow with their next renewal, within a week. When none needs the old CA any
more it is retired by itself, and its key removed; `show` says who still does. If the old key got into
wrong hands, rotate and retire with --force at once: probes that had not followed need new tokens.

"""


def add_ca_commands(commands: Any) -> None:
    """Show, rotate, retire."""
    ca = add_command(commands, "ca", _CA, "Change the coordinator's CA.")
    inner = ca.add_subparsers(required=True, metavar="COMMAND")
    for name, description, act in (
        ("show", "Say which CA signs, and who needs the old one.", _show),
        ("rotate", "Make a new CA beside the old one.", _rotate),
        ("retire", "End the old CA.", _retire),
    ):
        command = add_command(inner, name, _CA, description)
        if name == "retire":
            command.add_argument("--force", action="store_true", help="although some need it")
        command.add_argument("--json", action="store_true", help="print JSON")
        add_data(command)
        command.set_defaults(act=act)


def _show(args: argparse.Namespace) -> int:
    return _say(either(args.data, lambda door: door.show_authority()), args)


def _rotate(args: argparse.Namespace) -> int:
    return _say(either(args.data, lambda door: door.rotate_authority()), args)


def _retire(args: argparse.Namespace) -> int:
    return _say(either(args.data, lambda door: door.retire_authority(force=args.force)), args)


def _say(state: dict[str, Any], args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps(state))
        return Exit.GOOD
    began = datetime.fromtimestamp(state["began_at_us"] / 1_000_000, tz=UTC)
    print(f"signs since {began:%Y-%m-%d %H:%M} UTC: {state['key_sha256']}")
    if state["previous_key_sha256"] is None:
        print("no other CA is trusted")
        return Exit.GOOD
    print(f"trusted beside it, until nobody needs it: {state['previous_key_sha256']}")
    behind = ", ".join(state["behind"])
    print(f"need it: {len(state['behind'])} probes{': ' if behind else ''}{behind}")
    print(f"         {state['open_tokens']} open tokens")
    return Exit.GOOD
