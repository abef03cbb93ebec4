"""What the command lines of `soundings coordinator` share: defaults, help with examples, options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

DEFAULT_DATA: Final = Path("/var/lib/soundings")
DEFAULT_CONFIG: Final = Path("/etc/soundings/soundings.toml")

EXITS: Final = """exit codes:
  0 good   1 the answer is bad   2 usage   3 bad configuration, or a backup that is damaged
  7 data directory unusable, or in use by another coordinator   8 port occupied
"""


def described(prog: str, epilog: str, description: str) -> argparse.ArgumentParser:
    """A parser whose help ends with an example and the exit codes."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=epilog + EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_command(commands: Any, name: str, epilog: str, description: str) -> argparse.ArgumentParser:
    """The same for a subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=description,
        description=description,
        epilog=epilog + EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option `--data`."""
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="data directory")


def key_value(text: str) -> tuple[str, str]:
    """An option's KEY=VALUE, for argparse."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
