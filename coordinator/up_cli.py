"""`soundings up`: coordinator, one local probe and a page on this machine."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from coordinator.core.accepting import door
from coordinator.core.reading import UnfitError
from coordinator.core.registry import Vantage
from coordinator.core.settings import Address
from coordinator.exits import CoordinatorError, Exit
from coordinator.store.registry import RegistryError
from coordinator.up import Wishes, run_up
from proto.model import ConfigError

_EPILOG: Final = """example:
  soundings up
  soundings up --data /srv/soundings --web 127.0.0.1:9090 --asn 64512 --country DE

Runs a coordinator, one probe and a page until Ctrl-C. Without --config it starts from a shipped
configuration, copied to DIR/soundings.toml, which is yours to edit. More probes can join: see
`soundings coordinator token create --data DIR`.

exit codes:
  0 good   2 usage   3 bad configuration
  7 data directory unusable, or in use by another coordinator   8 port occupied
"""


def main(argv: Sequence[str]) -> int:
    """Run until a signal; returns the exit code."""
    args = _parser(os.environ).parse_args(argv)
    _log_warnings()
    wishes = Wishes(
        data_dir=args.data,
        config_file=args.config,
        web=args.web,
        vantage=Vantage(asn=args.asn, country=args.country),
    )
    try:
        asyncio.run(_until_signal(wishes))
    except CoordinatorError as error:
        print(f"soundings up: {error}", file=sys.stderr)
        return error.code
    except RegistryError as error:
        print(f"soundings up: {error}", file=sys.stderr)
        return Exit.USAGE
    except ConfigError as error:
        print(f"soundings up: bad configuration:\n{error}", file=sys.stderr)
        return Exit.BAD_CONFIG
    return Exit.GOOD


async def _until_signal(wishes: Wishes) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_up(wishes, stop=stop, say=_say)


def _say(text: str) -> None:
    print(text, flush=True)


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="soundings up",
        description="Run a coordinator, one local probe and a page on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place = default_data(environment)
    parser.add_argument(
        "--data", type=Path, default=place, metavar="DIR", help=f"data directory (default {place})"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="soundings.toml of your own")
    parser.add_argument(
        "--web",
        type=_address,
        metavar="ADDR",
        help="HOST:PORT of the page (default 127.0.0.1:8080)",
    )
    parser.add_argument(
        "--asn", type=int, help="AS number this machine sits in; not known if left out"
    )
    parser.add_argument(
        "--country", help="its country, two letters such as DE; not known if left out"
    )
    return parser


def _address(text: str) -> Address:
    try:
        found: Address = door(text)
    except UnfitError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    return found


def default_data(environment: Mapping[str, str]) -> Path:
    """Where a user's data lives: $XDG_DATA_HOME/soundings, else ~/.local/share/soundings."""
    home = Path(environment.get("HOME", "/"))
    base = environment.get("XDG_DATA_HOME")
    return (Path(base) if base else home / ".local" / "share") / "soundings"


def _log_warnings() -> None:
    """The terminal belongs to the sentences; only trouble is logged there."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["at", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
