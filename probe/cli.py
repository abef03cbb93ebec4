"""`soundings probe`: enrol a vantage point, run it, try a check, look what it can measure."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog
import trio

from probe import doctor, explain
from probe.app import run_probe, version
from probe.exits import Exit, ProbeError
from probe.io.clock import wall_us
from probe.io.state import DEFAULT_STATE, StateDirectory
from probe.settings import Settings, load_settings
from proto.model import ConfigError

_EXITS: Final = """exit codes:
  0 good   1 the answer is bad   2 usage   3 bad configuration, or not enrolled
  4 token refused, expired or used   5 wrong coordinator (CA pin)   6 coordinator unreachable
  7 state directory unusable or in use   8 port occupied   9 a permission is missing
  10 clock too far off
"""

_PROBE: Final = """examples:
  soundings probe doctor
  soundings probe check https://example.org/ --explain
  soundings probe enrol --coordinator coordinator.example.org:7444 snd1_AbC...
  soundings probe run

"""

_ENROL: Final = """example:
  soundings probe enrol --coordinator coordinator.example.org:7444 snd1_AbC...

The token comes from `soundings coordinator token create`. It can be used once; asking again from
this machine after a lost reply is fine.

"""

_RUN: Final = """example:
  soundings probe run --state /var/lib/soundings-probe

Runs until SIGTERM or SIGINT. Starts measuring from the stored plan when the coordinator is away.

"""


def main(argv: Sequence[str]) -> int:
    """Run one subcommand; `argv` begins with its name. Returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    _log_to_stderr()
    try:
        code: int = args.act(args)
    except ProbeError as error:
        print(f"soundings probe: {error}", file=sys.stderr)
        return error.code
    except ConfigError as error:
        print(f"soundings probe: bad configuration:\n{error}", file=sys.stderr)
        return Exit.BAD_CONFIG
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="soundings probe",
        description="Measure from this vantage point and report to a coordinator.",
        epilog=_PROBE + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = _command(commands, "enrol", "Join a coordinator's fleet with a token.", _ENROL)
    one.add_argument("token", metavar="TOKEN", help="as printed by `coordinator token create`")
    one.add_argument(
        "--coordinator", required=True, metavar="HOST:PORT", help="the enrolment port, usually 7444"
    )
    _state_options(one)
    one.set_defaults(act=_enrol)
    one = _command(commands, "run", "Measure and report until stopped.", _RUN)
    _state_options(one)
    one.add_argument(
        "--user", metavar="NAME", help="become this user (default `user` of probe.toml)"
    )
    one.set_defaults(act=_run)
    one = _command(commands, "check", "Run one check from here and explain it.", explain.EXAMPLES)
    explain.add_arguments(one)
    one.set_defaults(act=explain.run)
    one = _command(commands, "doctor", "Say what this machine can measure.", doctor.EXAMPLES)
    doctor.add_arguments(one)
    one.set_defaults(act=doctor.run)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, epilog: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=epilog + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _state_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help=f"the probe's state directory (default {DEFAULT_STATE})",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="probe.toml (default DIR/probe.toml, if it is there)",
    )


def _settings(args: argparse.Namespace) -> Settings:
    if args.config is not None:
        return load_settings(args.config, required=True)
    return load_settings(args.state / "probe.toml", required=False)


def _enrol(args: argparse.Namespace) -> int:
    from probe.io import enrol  # noqa: PLC0415  # a running probe does without, see probe.io.seal

    settings = _settings(args)
    enrolled = enrol.enrol(
        StateDirectory(args.state),
        coordinator=args.coordinator,
        token_text=args.token,
        version=version(),
        wall=wall_us(settings.clock_offset_s),
    )
    print(f"enrolled as {enrolled.probe_id}; fleet at {', '.join(enrolled.endpoint.fleet)}")
    if enrolled.clock_note is not None:
        print(f"soundings probe: warning: {enrolled.clock_note}", file=sys.stderr)
    return Exit.GOOD


def _run(args: argparse.Namespace) -> int:
    settings = _settings(args)
    if args.user is not None:
        settings = replace(settings, user=args.user)
    state = StateDirectory(args.state)
    try:
        state.identity()  # not enrolled: there is nothing to claim
        with state.claimed():
            trio.run(lambda: run_probe(state, settings, environment=os.environ))
    except ExceptionGroup as group:
        raise _cause(group) from group
    return Exit.GOOD


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """The one error that a person can repair, out of the nurseries that it passed; else all."""
    found: Exception | None = group.subgroup(ProbeError)
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return group if found is None else found


def _log_to_stderr() -> None:
    """One line per report, session and plan: time, level, what, and its facts."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
