"""What a backup says of itself: `manifest.json`, read as if a stranger had written it.

Pure: values in, text out, and back with every error named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proto.model import SoundingsError

FORMAT: Final = 1
NAME: Final = "manifest.json"
STORE: Final = "soundings.duckdb"
REGISTRY: Final = "registry.duckdb"
CONFIG: Final = "soundings.toml"
AUTHORITY: Final = "ca"

SECRETS: Final = {
    f"{AUTHORITY}/": "the CA: who has its key can be the coordinator to every probe",
    REGISTRY: "hashes of tokens, and who every probe is",
}
"""Files that must be kept as secret as the data directory, by how their path begins, and why."""

PUBLIC: Final = f"{AUTHORITY}/certificate.pem"
"""Every probe has it."""


class ManifestError(SoundingsError):
    """A backup that is none, or not one of ours; the text says which field and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """One file of a backup; `path` is relative, `secret` says why it must be kept secret."""

    path: str
    size: int
    sha256: str
    secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A whole backup. `marks`: by probe and boot the highest report that is in it."""

    made_at: str
    made_at_us: int
    schema_version: int
    config_version: int
    files: tuple[FileFact, ...]
    tables: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files)


def secret_of(path: str) -> str | None:
    """Why this file of a backup must be kept secret; None = it need not."""
    if path == PUBLIC:
        return None
    return next((why for begin, why in SECRETS.items() if path.startswith(begin)), None)


def manifest_text(manifest: Manifest) -> str:
    """The file, for people as well: one entry a line where there are few."""
    return (
        json.dumps(
            {
                "soundings_backup": FORMAT,
                "made_at": manifest.made_at,
                "made_at_us": manifest.made_at_us,
                "schema_version": manifest.schema_version,
                "config_version": manifest.config_version,
                "files": [
                    {
                        "path": one.path,
                        "bytes": one.size,
                        "sha256": one.sha256,
                        "mode": "0600",
                        "secret": one.secret,
                    }
                    for one in manifest.files
                ],
                "tables": dict(manifest.tables),
                "high_water_marks": {probe: dict(marks) for probe, marks in manifest.marks.items()},
            },
            indent=1,
        )
        + "\n"
    )


def read_manifest(text: str, *, file: str) -> Manifest:
    """The inverse. Raises ManifestError naming the file, the field and the fix."""
    try:
        held = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"{file}: not JSON ({error}); take another backup") from error
    if not isinstance(held, dict) or held.get("soundings_backup") != FORMAT:
        found = held.get("soundings_backup") if isinstance(held, dict) else None
        raise ManifestError(
            f"{file}: soundings_backup is {found!r}, this program reads {FORMAT}; use the program "
            "that made the backup"
        )
    try:
        return Manifest(
            made_at=str(held["made_at"]),
            made_at_us=_whole(held, "made_at_us"),
            schema_version=_whole(held, "schema_version"),
            config_version=_whole(held, "config_version"),
            files=tuple(_file(entry) for entry in held["files"]),
            tables=dict(held["tables"]),
            marks=dict(held["high_water_marks"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{file}: {error} is missing or wrong; take another backup") from error


def _whole(held: Mapping[str, Any], name: str) -> int:
    value = held[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} {value!r}")
    return value


def _file(entry: Mapping[str, Any]) -> FileFact:
    path = entry["path"]
    parts = path.split("/") if isinstance(path, str) else [""]
    if "" in parts or ".." in parts or "." in parts or len(parts) > 2:
        raise ValueError(f"path {path!r}")
    return FileFact(
        path=path,
        size=_whole(entry, "bytes"),
        sha256=str(entry["sha256"]),
        secret=secret_of(path),
    )
