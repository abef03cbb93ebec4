"""Addresses looked up in an MMDB file. Its reader is an optional part of the installation.

The file is read into memory, because one that is written over under a mapped reader ends the process.
A look-up walks it in Python, some tens of microseconds: enough for one look at each session's start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from coordinator.core.mmdb import place_of
from coordinator.core.networks import Place, lies_in_own_space, parse_address
from coordinator.core.ranges import UnfitFileError, UnfitRowError

TRIED: Final = 1_000
"""Records of a new file that are looked at: one that says nothing of networks shows in the first."""

INSTALL: Final = "install the reader with `pip install 'soundings[mmdb]'`, or give a CSV"


class MmdbTable:
    """One file. `find` may be called from one thread at a time."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __len__(self) -> int:
        """Nodes of its tree: the file does not say how many networks it has."""
        return int(self._reader.metadata().node_count)

    def find(self, address: str) -> Place | None:
        """What the file says of an address."""
        ip = parse_address(address)
        if ip is None or (ip.version == 6 and self._reader.metadata().ip_version == 4):
            return None
        record, prefix = self._reader.get_with_prefix_len(ip)
        if not lies_in_own_space(ip.packed, prefix):
            return None
        try:
            return place_of(record)
        except UnfitRowError:  # what stands there is no fact; the file was tried when it was read
            return None


def open_mmdb(path: Path) -> MmdbTable:
    """Read a file. Raises UnfitFileError when it cannot be used."""
    try:
        import maxminddb  # noqa: PLC0415  # asked for by whoever names such a file
    except ImportError as error:
        raise UnfitFileError([f"nothing here reads MMDB; {INSTALL}"]) from error
    try:
        reader = maxminddb.open_database(str(path), maxminddb.MODE_MEMORY)
        said = [place_of(record) for _, (_, record) in zip(range(TRIED), reader, strict=False)]
    except (maxminddb.InvalidDatabaseError, OSError, ValueError) as error:
        raise UnfitFileError([f"it is no good MMDB file ({error}); fetch it again"]) from error
    except UnfitRowError as error:
        raise UnfitFileError([str(error)]) from error
    if not any(said):
        raise UnfitFileError(["its records tell neither AS nor country; name a file that does"])
    return MmdbTable(reader)
