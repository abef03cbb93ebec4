"""A store's file on its way to a newer schema: rows kept, the file before it kept, or nothing done."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from structlog.testing import capture_logs

from analysis.store import (
    SchemaError,
    Upgraded,
    known_migrations,
    migrate,
    open_to_write,
    upgrade,
    version_of,
)
from coordinator.store.open import open_store
from tests.fakes.facts import Fact, write

ROOT = Path(__file__).resolve().parents[2]
NEWEST = known_migrations()[-1][0]
FACTS = [Fact(seq=n, slot_at_us=Fact().slot_at_us + n * 60_000_000) for n in range(1, 8)]
BROKEN = (*known_migrations(), (9998, "9998_broken.sql", "CREATE TABLE made (a INT); frob"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of the oldest schema, with rows of it."""
    path = tmp_path / "s.duckdb"
    with duckdb.connect(path) as con:
        migrate(con, known=known_migrations()[:1])
        write(con, FACTS)
        con.execute("INSERT INTO config_versions VALUES (1, '2026-01-01', true, 'a', 'text', NULL)")
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_whole_chain_keeps_every_row(old: Path) -> None:
    """A file of the oldest schema becomes one of the newest, with the same rows and a copy beside."""
    with duckdb.connect(old) as con:
        before = con.execute("SELECT * FROM results ORDER BY seq").fetchall()
    done = upgrade(old)
    assert done == Upgraded(1, NEWEST, old.with_name("s.duckdb.schema-1"))
    with duckdb.connect(old) as con, duckdb.connect() as fresh:
        migrate(fresh)
        shape = "SELECT table_name, column_name, data_type FROM duckdb_columns() ORDER BY ALL"
        assert con.execute(shape).fetchall() == fresh.execute(shape).fetchall()
        assert con.execute("SELECT * FROM results ORDER BY seq").fetchall() == before
        assert con.execute("SELECT source, loaded_by FROM config_versions").fetchall() == [
            ("text", None)
        ]
        steps = con.execute("SELECT version FROM schema_version ORDER BY 1").fetchall()
        assert steps == [(version,) for version, _, _ in known_migrations()]
    with duckdb.connect(done.kept, read_only=True) as con:
        assert version_of(con) == 1
        assert con.execute("SELECT * FROM results ORDER BY seq").fetchall() == before
    assert sorted(path.name for path in old.parent.iterdir()) == ["s.duckdb", "s.duckdb.schema-1"]


def test_a_file_of_the_newest_schema_is_left_alone(old: Path) -> None:
    """No copy is made where nothing is to be done."""
    upgrade(old)
    before = sorted(old.parent.iterdir())
    assert upgrade(old) is None
    assert sorted(old.parent.iterdir()) == before


def test_what_was_kept_before_is_never_overwritten(old: Path) -> None:
    """A name that another file has is left to it; an upgrade that ended half-way finds its own."""
    other = old.with_name("s.duckdb.schema-1")
    other.write_bytes(b"another")
    old.with_name("s.duckdb.schema-1.2").hardlink_to(old)
    assert upgrade(old) == Upgraded(1, NEWEST, old.with_name("s.duckdb.schema-1.2"))
    assert other.read_bytes() == b"another"


def test_a_migration_that_fails_leaves_the_file_as_it_was(old: Path) -> None:
    """Not a byte of it changes, nothing lies beside it, and the message says what to do."""
    before = _sha256(old)
    with pytest.raises(SchemaError, match="the file is as it was") as caught:
        upgrade(old, known=BROKEN)
    assert f"{old}: it could not be brought from schema version 1 to 9998" in str(caught.value)
    assert "frob" in str(caught.value)
    assert _sha256(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_a_newer_file_is_refused_and_left_alone(old: Path) -> None:
    """Whoever opens it is told which version it has, which ones are known, and what to do."""
    with duckdb.connect(old) as con:
        con.execute("INSERT INTO schema_version VALUES (9999, 'x', '2026-01-01')")
    before = _sha256(old)
    with pytest.raises(SchemaError, match=f"version 9999, .* up to {NEWEST}: use the newer"):
        open_store(old)
    with pytest.raises(SchemaError, match="9999"), open_to_write(old):
        pass
    assert _sha256(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_whoever_opens_an_older_file_to_write_has_it_brought_up(old: Path) -> None:
    """The coordinator's opening, which says where the file before is, and that of the commands."""
    with capture_logs() as logs:
        open_store(old).close()
    kept = str(old.with_name("s.duckdb.schema-1"))
    (line,) = logs
    assert line == {
        "event": "store_migrated", "log_level": "warning", "from_version": 1,
        "to_version": NEWEST, "kept": kept,
    }  # fmt: skip
    with duckdb.connect(old) as con:
        assert version_of(con) == NEWEST
    with open_to_write(old) as con:
        assert version_of(con) == NEWEST


def test_a_full_disk_during_a_migration_costs_nothing(tmp_path: Path) -> None:
    """The kernel refuses a write in the middle of it: the file is as it was, and nothing beside it."""
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-m"]
    ran = subprocess.run(
        [*command, "tests.fakes.full_migration", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    refused = "unshare failed" in ran.stderr or "permission denied" in ran.stderr
    if refused and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip("mount namespaces are not permitted here")
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert "No space left on device" in answer["full"]
    assert "MiB are free" in answer["narrow"]
    assert answer["same"]
    assert answer["names"] == ["s.duckdb"]
