"""A program: migrate a store on a tiny tmpfs that fills up, and print what became of it as JSON."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import duckdb

from analysis.store import SchemaError, known_migrations, migrate, upgrade

GREEDY = "CREATE TABLE big AS SELECT random() AS a FROM range(20000000)"


def why(path: Path) -> str:
    """What an upgrade that needs more than there is says."""
    try:
        upgrade(path, known=(*known_migrations(), (9998, "9998_greedy.sql", GREEDY)))
    except SchemaError as error:
        return str(error)
    return "it went through"


def main(directory: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(directory)], check=True)
    path = directory / "s.duckdb"
    with duckdb.connect(path) as con:
        migrate(con, known=known_migrations()[:1])
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    full = why(path)
    other = directory / "other"
    other.write_bytes(bytes(50 << 20))
    narrow = why(path)
    other.unlink()
    answer = {
        "full": full,
        "narrow": narrow,
        "same": hashlib.sha256(path.read_bytes()).hexdigest() == before,
        "names": sorted(entry.name for entry in directory.iterdir()),
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
