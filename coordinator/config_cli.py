"""`soundings coordinator reload` and `config`: what is in force, what was, and what would be."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pwd
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from coordinator.app import wall_us
from coordinator.configs import load_config, parse_config
from coordinator.copying import sync_directory, write_file
from coordinator.core.assigning import AWAY_AFTER_US, Candidate
from coordinator.core.changes import Difference, compare, lines
from coordinator.core.registry import ProbeState, Vantage
from coordinator.core.settings import Config
from coordinator.datadir import DataDir
from coordinator.exits import CoordinatorError, Exit
from coordinator.offline import Offline
from coordinator.parsing import add_command, add_data
from coordinator.rpc.operator import NotRunningError, Operator
from coordinator.store import serving
from coordinator.store.open import StoreOpenError, told_of
from coordinator.store.survey import reading
from proto.model import ConfigError

RUNNING: Final = "running"
"""Names the configuration that was last accepted."""

_RELOAD: Final = """example:
  soundings coordinator reload --data /var/lib/soundings

Has the running coordinator read its file now, and prints which version is in force and what it
changed against the one before. A file that does not validate
changes nothing: every finding is printed and the code is 3.

"""
_CONFIG: Final = """example:
  soundings coordinator config history
  soundings coordinator config show 7
  soundings coordinator config diff running soundings.toml
  soundings coordinator config diff 6 7 --json
  soundings coordinator config rollback 6

A configuration is a version, `running` (the one last accepted) or a file. diff says which checks, groups
and settings differ, how many probes get another plan, and what all probes together would ask of each
host. rollback writes the text of a version into the file that the running coordinator reads and has it
read: that becomes a new version.

"""


def add_config_commands(commands: Any) -> None:
    """`reload`, and `config` with its own."""
    again = add_command(commands, "reload", _RELOAD, "Have the configuration file read now.")
    again.add_argument("--json", action="store_true", help="print JSON")
    add_data(again)
    again.set_defaults(act=_reload)
    config = add_command(commands, "config", _CONFIG, "Look at configurations, and go back to one.")
    inside = config.add_subparsers(required=True, metavar="COMMAND")
    history = add_command(inside, "history", _CONFIG, "List every configuration that was read.")
    show = add_command(inside, "show", _CONFIG, "Print the text of a version.")
    show.add_argument("version", type=_named, metavar="N|running")
    diff = add_command(inside, "diff", _CONFIG, "Say what differs between two configurations.")
    diff.add_argument("old", metavar="A", help="a version, `running`, or a file")
    diff.add_argument("new", metavar="B", help="a version, `running`, or a file")
    back = add_command(inside, "rollback", _CONFIG, "Put an earlier version in force again.")
    back.add_argument("version", type=_named, metavar="N")
    acts = {history: _history, show: _show, diff: _diff, back: _rollback}
    for parser, act in acts.items():
        if parser is not show:
            parser.add_argument("--json", action="store_true", help="print JSON")
        add_data(parser)
        parser.set_defaults(act=act)


def _named(text: str) -> int | None:
    """A version; None = the one last accepted."""
    if text == RUNNING:
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a version; `config history` lists them")
    return int(text)


# --- where they come from -----------------------------------------------------------------------


class Shelf:
    """The configurations of one data directory, and its probes: of a running coordinator or at rest."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._operator = Operator(data / "admin.sock")

    def rows(self, version: int | None = None) -> list[serving.Record]:
        """Every configuration that was read, or one with its text."""
        try:
            return asyncio.run(self._operator.configs(version))[0]
        except NotRunningError:
            return self._rows_at_rest(version)

    def _rows_at_rest(self, version: int | None) -> list[serving.Record]:
        store = DataDir(self._data).store
        try:
            with told_of(store), reading(store) as con:
                return serving.configs(con, version=version)
        except StoreOpenError as error:
            raise CoordinatorError(str(error), code=Exit.DATA_UNUSABLE) from error

    def text(self, version: int | None) -> tuple[int, str]:
        """The text of a version; None = the newest that was accepted."""
        if version is None:
            accepted = [row["version"] for row in self.rows() if row["version"] is not None]
            if not accepted:
                raise CoordinatorError(
                    f"{self._data}: no configuration was ever in force", code=Exit.USAGE
                )
            version = max(accepted)
        found = self.rows(version)
        if not found:
            raise CoordinatorError(
                f"no configuration has version {version}; `config history` lists them",
                code=Exit.USAGE,
            )
        return version, found[-1]["source"]

    def config(self, name: str) -> Config:
        """What a version, `running` or a file says. Raises ConfigError where it does not validate."""
        if name == RUNNING or name.isdecimal():
            version, text = self.text(_named(name))
            return parse_config(text, file=f"version {version}")
        return load_config(Path(name), loaded_at_us=wall_us())[0]

    def fleet(self) -> list[Candidate]:
        """The probes as the planner sees them."""
        return [_candidate(row) for row in asyncio.run(self._probes()) if row["state"] != "revoked"]

    async def _probes(self) -> list[dict[str, Any]]:
        try:
            return await self._operator.list_probes()
        except NotRunningError:
            with Offline.open(self._data, wall=wall_us) as offline:
                return await offline.list_probes()


def _candidate(row: dict[str, Any]) -> Candidate:
    seen_at_us = row["seen_at_us"]
    away = row["state"] != "connected" and seen_at_us is not None
    return Candidate(
        probe_id=row["probe_id"],
        vantage=Vantage(
            asn=row["asn"], country=row["country"], provider=row["provider"], labels=row["labels"]
        ),
        families=frozenset(row["families"]),
        capabilities=frozenset(row["capabilities"]),
        state=ProbeState.QUARANTINED if row["state"] == "quarantined" else ProbeState.ENROLLED,
        is_away=away and wall_us() - seen_at_us > AWAY_AFTER_US,
    )


# --- what they do -------------------------------------------------------------------------------


def _history(args: argparse.Namespace) -> int:
    rows = Shelf(args.data).rows()
    if args.json:
        print(json.dumps([{k: v for k, v in row.items() if k != "source"} for row in rows]))
        return Exit.GOOD
    print(f"{'VERSION':<8} {'READ (UTC)':<20} {'SHA-256':<13} BY")
    for row in rows:
        at = datetime.fromtimestamp(row["loaded_at_us"] / 1_000_000, UTC)
        version = "refused" if row["version"] is None else row["version"]
        by = row["loaded_by"] or "-"
        print(f"{version:<8} {at:%Y-%m-%d %H:%M:%S}  {row['sha256'][:12]:<13} {by}")
        for finding in row["findings"]:
            print(f"{'':<8} {finding}")
    return Exit.GOOD


def _show(args: argparse.Namespace) -> int:
    print(Shelf(args.data).text(args.version)[1], end="")
    return Exit.GOOD


def _diff(args: argparse.Namespace) -> int:
    shelf = Shelf(args.data)
    _print(compare(shelf.config(args.old), shelf.config(args.new), shelf.fleet()), args.json)
    return Exit.GOOD


def _print(difference: Difference, as_json: bool, **more: Any) -> None:
    if as_json:
        told = {**more, **asdict(difference), "restart": difference.restart}
        print(json.dumps(told, default=str))
        return
    for line in lines(difference):
        print(line)


def _reload(args: argparse.Namespace) -> int:
    return _read_now(args, verb="reload")


def _read_now(args: argparse.Namespace, *, verb: str) -> int:
    """Have the file read, and print what is in force against what was before it.

    Not against what was in force a moment ago: the coordinator looks at its file by itself, and may
    have taken it before it was asked to.
    """
    try:
        reply = asyncio.run(Operator(args.data / "admin.sock").reload(f"{verb} by {_user()}"))
    except NotRunningError as error:
        raise _not_running(args.data) from error
    if not reply["accepted"]:
        raise ConfigError(tuple(reply["findings"]))
    shelf, version = Shelf(args.data), reply["version"]
    row = next(row for row in shelf.rows() if row["version"] == version)
    at = datetime.fromtimestamp(row["loaded_at_us"] / 1_000_000, UTC)
    if not args.json:
        print(
            f"version {version} is in force since {at:%Y-%m-%d %H:%M:%S} UTC ({row['loaded_by']})"
        )
        print(f"against version {version - 1}:" if version > 1 else "there was none before it")
    new = shelf.config(str(version))
    old = shelf.config(str(version - 1)) if version > 1 else new
    _print(compare(old, new, shelf.fleet()), args.json, version=version, by=row["loaded_by"])
    return Exit.GOOD


def _rollback(args: argparse.Namespace) -> int:
    _, wanted = Shelf(args.data).text(args.version)
    parse_config(wanted, file=f"version {args.version}")  # what was good may not be good any more
    try:
        _, file = asyncio.run(Operator(args.data / "admin.sock").configs(args.version))
    except NotRunningError as error:
        raise _not_running(args.data) from error
    _replace(Path(file), wanted)
    return _read_now(args, verb=f"rollback to {args.version}")


def _replace(file: Path, text: str) -> None:
    """Write the file anew, whole or not at all, as readable as it was."""
    fresh = file.with_name(f".{file.name}.rollback")
    try:
        fresh.unlink(missing_ok=True)
        write_file(fresh, text.encode())
        facts = file.stat()
        fresh.chmod(facts.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(fresh, facts.st_uid, facts.st_gid)
        fresh.replace(file)
        sync_directory(file.parent)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise CoordinatorError(
            f"{file}: cannot be written ({error.strerror}); run the command as who may, or put the "
            "output of `config show N` there yourself",
            code=Exit.BAD_CONFIG,
        ) from error


def _not_running(data: Path) -> CoordinatorError:
    return CoordinatorError(
        f"no coordinator runs with --data {data}; one that is started reads its file anyway",
        code=Exit.USAGE,
    )


def _user() -> str:
    """Who runs the command, and on whose behalf where sudo says so."""
    name = pwd.getpwuid(os.getuid()).pw_name
    behind = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {behind})" if behind else name
