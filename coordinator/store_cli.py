"""`soundings coordinator backup, restore, check-store`: look after the data directory."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from coordinator.app import wall_us
from coordinator.backup import make_backup
from coordinator.copying import CHUNK_BYTES, Tell
from coordinator.core.manifest import (
    CONFIG,
    NAME,
    REGISTRY,
    STORE,
    Manifest,
    ManifestError,
    read_manifest,
)
from coordinator.exits import CoordinatorError, Exit
from coordinator.parsing import DEFAULT_CONFIG, add_command, add_data
from coordinator.restore import restore
from coordinator.store.checking import Damage, check_registry, check_store
from coordinator.store.open import StoreOpenError
from coordinator.store.survey import survey

_BACKUP: Final = """example:
  soundings coordinator backup /srv/backup/2026-11-24 --data /var/lib/soundings

Makes the directory, of a coordinator that runs (probes notice nothing) or of one that is stopped. It
holds the store, the registry of probes and tokens, the CA's key and the configuration in force: keep it
as secret as the data directory. manifest.json says which files are secret, and what is in them.

"""
_RESTORE: Final = """example:
  soundings coordinator restore /srv/backup/2026-11-24 --data /var/lib/soundings

Compares every file with the manifest and copies it into a data directory that is empty or not there.
What was acknowledged after the backup is gone, but for what probes still hold; the store says so in the
table restores and the view gaps. Run it as the coordinator's user.

"""
_CHECK: Final = """example:
  soundings coordinator check-store /srv/backup/2026-11-24
  soundings coordinator check-store /var/lib/soundings --json

Reads a store that no coordinator has open (a data directory, a backup, or its file), every block of it,
and says what is wrong: schema, keys, references, reports and their rows, cells against results. It
repairs nothing. Of a running coordinator check a backup.

"""


def add_store_commands(commands: Any) -> None:
    """The three commands."""
    made = add_command(commands, "backup", _BACKUP, "Copy everything that a restore needs.")
    made.add_argument("dest", type=Path, metavar="DEST", help="a directory that is not there yet")
    made.add_argument("--json", action="store_true", help="print the manifest")
    add_data(made)
    made.set_defaults(act=_backup)
    back = add_command(commands, "restore", _RESTORE, "Bring a backup into an empty directory.")
    back.add_argument("source", type=Path, metavar="FROM", help="a directory that backup made")
    back.add_argument("--json", action="store_true", help="print JSON")
    add_data(back)
    back.set_defaults(act=_restore)
    check = add_command(commands, "check-store", _CHECK, "Say what is wrong with a store.")
    check.add_argument("path", type=Path, metavar="PATH", help="data directory, backup or file")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(act=_check)


def _begin(verb: str) -> Callable[[int], Tell]:
    """A line of progress on stderr: rewritten on a terminal, each tenth elsewhere."""

    def begin(total: int) -> Tell:
        done = shown = 0

        def tell(size: int) -> None:
            nonlocal done, shown
            done += size
            percent = 100 * done // max(total, 1)
            step = 1 if sys.stderr.isatty() else 10
            if percent // step > shown // step:
                shown = percent
                end = "\r" if sys.stderr.isatty() and percent < 100 else "\n"
                text = f"{verb}: {done >> 20} of {total >> 20} MiB ({percent} %)"
                print(text, end=end, file=sys.stderr, flush=True)

        return tell

    return begin


# --- backup and restore -------------------------------------------------------------------------


def _backup(args: argparse.Namespace) -> int:
    made = asyncio.run(make_backup(args.data, args.dest, wall=wall_us, begin=_begin("backup")))
    if args.json:
        print((args.dest / NAME).read_text(encoding="utf-8"), end="")
        return Exit.GOOD
    print(f"{args.dest}: everything committed up to {made.made_at}, {_sizes(made)}")
    for one in made.files:
        if one.secret:
            print(f"  secret  {one.path}: {one.secret}")
    print("  every file has mode 0600, the directory 0700: keep it as secret as the data directory")
    return Exit.GOOD


def _sizes(made: Manifest) -> str:
    return (
        f"{made.tables.get('result_rows', 0)} results of {len(made.marks)} probes, "
        f"{made.size >> 20} MiB, schema version {made.schema_version}, "
        f"configuration version {made.config_version}"
    )


def _restore(args: argparse.Namespace) -> int:
    done = restore(args.source, args.data, wall=wall_us, begin=_begin("restore"))
    made = done.manifest
    if args.json:
        answer = {"made_at": made.made_at, "tables": made.tables, "withdrawn": done.withdrawn}
        print(json.dumps(answer))
        return Exit.GOOD
    print(f"{args.data}: restored as of {made.made_at}, {_sizes(made)}")
    print(
        f"  What was acknowledged to probes after that is gone, unless they still hold it: it shows\n"
        f"  in the view gaps, and as unreported slots in the view ledger.\n"
        f"  Tokens withdrawn because they may have been used since: {done.withdrawn}; make new ones.\n"
        f"  Revoke again whom you revoked since; who enrolled since must enrol anew.\n"
        f"  The configuration then in force is {args.source / CONFIG}; next:\n"
        f"  soundings coordinator check-store {args.data}\n"
        f"  soundings coordinator run --config {DEFAULT_CONFIG} --data {args.data}"
    )
    return Exit.GOOD


# --- check-store --------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    path = args.path / STORE if args.path.is_dir() else args.path
    if not path.is_file():
        raise CoordinatorError(
            f"{path}: there is no such store; name a data directory, a backup or its file",
            code=Exit.DATA_UNUSABLE,
        )
    tell = _tell_nothing if args.json else _tell
    try:
        found = [*_against_manifest(args.path, tell), *check_store(path, tell=tell)]
        registry = path.with_name(REGISTRY)
        if not found and registry.is_file():
            tell("probes of the registry")
            found = check_registry(path, registry)
    except StoreOpenError as error:
        if "could not set lock" in str(error).lower():
            raise CoordinatorError(
                f"{path}: a coordinator has it open; take a backup, and check that",
                code=Exit.DATA_UNUSABLE,
            ) from error
        found = [Damage("unreadable", "the file cannot be opened as a store", 1, (str(error),))]
    if args.json:
        print(json.dumps({"good": not found, "damage": [asdict(one) for one in found]}))
    else:
        _print_damage(path, found)
    return Exit.BAD_ANSWER if found else Exit.GOOD


def _tell(what: str) -> None:
    print(f"check-store: {what}", file=sys.stderr)


def _tell_nothing(_: str) -> None:
    """Whoever reads JSON wants no more."""


def _print_damage(path: Path, found: list[Damage]) -> None:
    for one in found:
        print(f"{path}: {one.name}: {one.sentence} ({one.count} found)")
        for example in one.examples:
            print(f"    {example}")
    if found:
        print(
            f"{path}: damaged; restore a backup that check-store finds good, or mend what is said"
        )
    else:
        print(f"{path}: good")


def _against_manifest(path: Path, tell: Callable[[str], None]) -> list[Damage]:
    """Of a backup: are its files those of its manifest, and its marks those of its store?"""
    file = path / NAME
    if not file.is_file():
        return []
    tell("files and marks of the manifest")
    try:
        made = read_manifest(file.read_text(encoding="utf-8"), file=str(file))
    except (ManifestError, UnicodeDecodeError) as error:
        return [Damage("manifest", "the manifest cannot be read", 1, (str(error),))]
    wrong = [one.path for one in made.files if _sha256(path / one.path) != one.sha256]
    if wrong:
        return [Damage("files", "files are not those of the manifest", len(wrong), tuple(wrong))]
    if survey(path / STORE).marks != made.marks:
        return [Damage("marks", "high-water marks are not those of the manifest", 1, ())]
    return []


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
    except OSError as error:
        return str(error)
    return digest.hexdigest()
