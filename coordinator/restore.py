"""A backup brought back into an empty data directory, and what honesty then asks for.

What was acknowledged after the backup is gone here, and the probes dropped most of it when it was
acknowledged. So the restored store must never pretend to have it, nor give anything new a name that
it already had: numbers of checks and plans go on above whatever may have been given since (the table
`restores` says above what), high-water marks are those of the backup, so that whatever probes still
hold is taken, and what nobody holds any more stands as a gap (view `gaps`) and as unreported slots
(view `ledger`). A token that was used after the backup would work again: unused ones are withdrawn.

Everything is copied into a folder of the data directory first. Its presence keeps a coordinator from
starting (coordinator.datadir), so a restore that was killed is never taken for a store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analysis.store import SchemaError, known_migrations
from coordinator.backup import Begin
from coordinator.copying import copy_file, sync_directory
from coordinator.core.manifest import (
    AUTHORITY,
    CONFIG,
    NAME,
    REGISTRY,
    STORE,
    Manifest,
    ManifestError,
    read_manifest,
)
from coordinator.datadir import UNFINISHED, hold
from coordinator.exits import CoordinatorError, Exit
from coordinator.store.open import StoreOpenError
from coordinator.store.stamping import bring_up, stamp_restore, withdraw_tokens

NEEDED: Final = frozenset({STORE, REGISTRY, CONFIG, f"{AUTHORITY}/key.pem"})
"""Without one of these no probe could come back."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was brought back, and how many unused tokens were withdrawn."""

    manifest: Manifest
    withdrawn: int


def restore(source: Path, data: Path, *, wall: Callable[[], int], begin: Begin) -> Restored:
    """Bring a backup into a data directory that is empty or not there.

    Raises CoordinatorError: the backup is not whole, or the directory cannot be used; nothing was
    changed then but for copies that the message names.
    """
    text, manifest = _read(source)
    _refuse_used(data)
    owner = data.stat() if data.exists() else None
    with hold(data, unfinished=True):
        staging = data / UNFINISHED
        try:
            staging.mkdir(mode=0o700)
            _copy_checked(source, staging, manifest, begin)
            withdrawn = _make_honest(staging, manifest, text, wall=wall)
        except (OSError, SchemaError, StoreOpenError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise CoordinatorError(
                f"{data}: nothing was restored ({str(error).splitlines()[0]})",
                code=Exit.DATA_UNUSABLE,
            ) from error
        except CoordinatorError:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _put_in_place(staging, data)
        if owner is not None and os.geteuid() == 0:
            _give(data, owner)
    return Restored(manifest, withdrawn)


def _read(source: Path) -> tuple[str, Manifest]:
    file = source / NAME
    try:
        text = file.read_text(encoding="utf-8")
        manifest = read_manifest(text, file=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise CoordinatorError(
            f"{file}: cannot be read ({error}); name a directory that `backup` made",
            code=Exit.BAD_CONFIG,
        ) from error
    except ManifestError as error:
        raise CoordinatorError(str(error), code=Exit.BAD_CONFIG) from error
    newest = known_migrations()[-1][0]
    if manifest.schema_version > newest:
        raise CoordinatorError(
            f"{file}: schema_version is {manifest.schema_version}, this program knows up to "
            f"{newest}; restore with the program that made the backup, or a newer one",
            code=Exit.BAD_CONFIG,
        )
    missing = NEEDED - {one.path for one in manifest.files}
    if missing:
        raise CoordinatorError(
            f"{file}: files lacks {', '.join(sorted(missing))}; take another backup",
            code=Exit.BAD_CONFIG,
        )
    return text, manifest


def _refuse_used(data: Path) -> None:
    """An empty directory, or none; a lock that a coordinator left is nothing."""
    try:
        found = sorted(entry.name for entry in data.iterdir()) if data.exists() else []
    except OSError as error:
        raise CoordinatorError(
            f"{data}: the data directory cannot be used ({error.strerror}); name another --data",
            code=Exit.DATA_UNUSABLE,
        ) from error
    if UNFINISHED in found:
        raise CoordinatorError(
            f"{data}: a restore into it did not finish; empty the directory and restore again",
            code=Exit.DATA_UNUSABLE,
        )
    if set(found) - {"coordinator.lock"}:
        raise CoordinatorError(
            f"{data} is not empty ({', '.join(found[:4])}); a restore overwrites nothing: move it "
            "away, or name another --data",
            code=Exit.DATA_UNUSABLE,
        )


def _copy_checked(source: Path, staging: Path, manifest: Manifest, begin: Begin) -> None:
    """Copy every file and compare it with the manifest on the way."""
    tell = begin(manifest.size)
    (staging / AUTHORITY).mkdir(mode=0o700)
    for fact in manifest.files:
        size, sha256 = copy_file(source / fact.path, staging / fact.path, tell=tell)
        if (size, sha256) != (fact.size, fact.sha256):
            raise CoordinatorError(
                f"{source / fact.path}: it has {size} bytes and SHA-256 {sha256[:12]}…, the manifest "
                f"says {fact.size} and {fact.sha256[:12]}…; the backup is damaged, use another",
                code=Exit.BAD_CONFIG,
            )


def _make_honest(staging: Path, manifest: Manifest, text: str, *, wall: Callable[[], int]) -> int:
    """Put down in the files that they were restored; how many tokens were withdrawn."""
    bring_up(staging / STORE)
    stamp_restore(
        staging / STORE, backup_at_us=manifest.made_at_us, restored_at_us=wall(), manifest=text
    )
    return withdraw_tokens(staging / REGISTRY, at_us=wall())


def _put_in_place(staging: Path, data: Path) -> None:
    for entry in sorted(staging.iterdir()):
        if entry.name == CONFIG:
            entry.unlink()  # it lies in the backup; the one in force is named with --config
        else:
            entry.rename(data / entry.name)
    sync_directory(data)
    staging.rmdir()
    sync_directory(data)


def _give(data: Path, owner: os.stat_result) -> None:
    """What root restored belongs to whom the directory belongs."""
    for path in (data, *data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
