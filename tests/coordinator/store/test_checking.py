"""Every kind of damage is found and named, and a good store is called good."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import duckdb
import pytest

from coordinator.cli import main
from coordinator.core.intake import BatchName
from coordinator.store.checking import check_store, questions
from coordinator.store.open import connect
from coordinator.store.rollup import count_bins
from proto.model import Certificate
from tests.fakes.coordinator_store import Fates, a_store, submit
from tests.fakes.reports import NOW_US, SECOND_US, failed, row

MINUTE_US = 60_000_000
BIN_US = NOW_US // MINUTE_US * MINUTE_US - 5 * MINUTE_US


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the coordinator's own writer and roll-up made, in two bins, one with late rows."""
    path = tmp_path_factory.mktemp("good")

    async def scenario() -> None:
        async with a_store(path) as store:
            fates = Fates()
            for seq in range(1, 7):
                at_us = BIN_US + seq * 15 * SECOND_US
                rows = [row(2, at_us), failed(3, at_us)]
                seen = [Certificate(sha256="a" * 64, der=b"der")] if seq == 1 else []
                name = BatchName("p1", 7, seq)
                submit(store, fates, rows, name, certificates=seen)
                await fates.wait(seq)
                if seq in {3, 6}:
                    bins = [BIN_US, BIN_US + MINUTE_US][: seq // 3]
                    await store.run_in_store(
                        lambda con, bins=bins, n=seq: count_bins(
                            con, bins, bin_us=MINUTE_US, as_of_us=NOW_US + n * SECOND_US
                        )
                    )

    asyncio.run(scenario())
    return path / "soundings.duckdb"


@pytest.fixture
def store(good: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copy(good, tmp_path / "s.duckdb"))


def test_what_the_coordinator_wrote_is_good(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is found; the command ends with 0 and says so."""
    assert check_store(good) == []
    assert main(["check-store", str(good.parent)]) == 0
    assert capsys.readouterr().out == f"{good}: good\n"
    assert main(["check-store", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"good": True, "damage": []}


DAMAGE = {
    "duplicate_declarations": "INSERT INTO probes FROM probes WHERE probe_id = 'p2'",
    "duplicate_definitions": "INSERT INTO checks FROM checks ORDER BY definition_no DESC LIMIT 1",
    "duplicate_facts": "INSERT INTO result_facts SELECT * REPLACE (9 AS fact_no) FROM result_facts",
    "check_with_two_meanings": (
        "INSERT INTO checks SELECT * REPLACE (900 AS definition_no, 'other' AS check_id)"
        " FROM checks WHERE check_no = 2"
    ),
    "duplicate_config_versions": "INSERT INTO config_versions FROM config_versions",
    "duplicate_reports": "INSERT INTO batches FROM batches WHERE seq = 4",
    "duplicate_verdicts": (
        "INSERT INTO verdicts BY NAME SELECT 'v' AS verdict_id, 1 AS revision, 's' AS service,"
        " t AS window_from, t AS window_to, t AS as_of, 'final' AS stage, 'x' AS level,"
        " 'x' AS class, 's' AS sentence, 'm' AS model_version, 'b' AS body"
        " FROM (SELECT TIMESTAMP '2026-01-01' AS t FROM range(2))"
    ),
    "duplicate_incidents": (
        "INSERT INTO incidents BY NAME SELECT 'i' AS incident_id, 1 AS revision, 's' AS service,"
        " 'x' AS level, 'x' AS class, 'open' AS state, 's' AS sentence,"
        " TIMESTAMP '2026-01-01' AS recorded_at, 'b' AS body FROM range(2)"
    ),
    "duplicate_certificates": "INSERT INTO certificates FROM certificates",
    "rows_without_declaration": (
        "UPDATE result_rows SET declaration_no = 99 WHERE seq = 5;"
        " DELETE FROM batches WHERE seq = 5; DELETE FROM cells; DELETE FROM rollups"
    ),
    "rows_without_definition": (
        "UPDATE result_rows SET definition_no = 99 WHERE seq = 5; DELETE FROM cells;"
        " DELETE FROM rollups"
    ),
    "rows_without_facts": (
        "UPDATE result_rows SET fact_no = 99 WHERE seq = 5; DELETE FROM cells; DELETE FROM rollups"
    ),
    "reports_and_rows_differ": "DELETE FROM result_rows WHERE seq = 6",
    "plans_of_unknown_checks": (
        "INSERT INTO plans VALUES ('p1', 1, 1, 99, 1, 0, '2026-01-01', NULL)"
    ),
    "hops_of_no_row": (
        "INSERT INTO hops BY NAME SELECT TIMESTAMP '2026-01-01' AS slot_at,"
        " TIMESTAMP '2026-01-01' AS received_at, 'p1' AS probe_id, 2 AS check_no,"
        " 'failure' AS trigger, 'x' AS service, 'spaces' AS component, 'v01' AS vantage,"
        " 1 AS ttl, 0 AS packet"
    ),
    "cells_of_no_count": "DELETE FROM rollups WHERE bin_at = (SELECT max(bin_at) FROM rollups)",
    "cells_differ": "UPDATE cells SET lost = lost + 1 WHERE failure IS NOT NULL",
    "schema": "ALTER TABLE certificates DROP COLUMN names",
    "schema_version": "INSERT INTO schema_version VALUES (999, 'x', '2026-01-01')",
}


def damage(store: Path, name: str) -> None:
    """Do it."""
    con = connect(store)
    con.execute(DAMAGE[name])
    con.close()


@pytest.mark.parametrize("name", DAMAGE)
def test_each_kind_of_damage_is_found_by_its_name(store: Path, name: str) -> None:
    """That one and no other, with what is wrong and an example."""
    damage(store, name)
    (found,) = check_store(store)
    assert (found.name, found.count > 0, len(found.examples) > 0) == (name, True, True)


def test_damage_is_told_in_words_and_by_the_exit_code(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 1; file, name, what is wrong, how often, an example, and what to do."""
    damage(store, "duplicate_reports")
    assert main(["check-store", str(store)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{store}: duplicate_reports: one report (probe, boot, seq) was committed twice (1 found)",
        "    probe_id p1, boot_id 0000000000000007, seq 4, times 2",
        f"{store}: damaged; restore a backup that check-store finds good, or mend what is said",
    ]


def test_every_question_has_its_damage() -> None:
    """No question is asked that a test does not see answered."""
    assert set(questions()) <= set(DAMAGE)


@pytest.mark.parametrize(
    ("at", "name"), [(274_432, "unreadable_blocks"), (4096, "unreadable"), (12_288, "unreadable")]
)
def test_a_damaged_block_is_found(
    store: Path, capsys: pytest.CaptureFixture[str], at: int, name: str
) -> None:
    """Of a table, of the file's head, of what says which blocks there are: code 1, never «in use»."""
    with store.open("r+b") as file:
        file.seek(at)
        was = file.read(16_384)
        file.seek(at)
        file.write(bytes(b ^ 0x55 for b in was))
    assert main(["check-store", str(store), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in answer["damage"]] == [name]


def test_no_store_is_told_from_a_damaged_one(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing there is code 7, and so is a store that a coordinator has open; rubbish is code 1."""
    assert main(["check-store", str(tmp_path / "no")]) == 7
    assert "there is no such store" in capsys.readouterr().err
    rubbish = tmp_path / "rubbish.duckdb"
    rubbish.write_bytes(os.urandom(20_000))
    assert main(["check-store", str(rubbish)]) == 1
    assert "unreadable: the file cannot be opened as a store" in capsys.readouterr().out


def test_a_log_beside_the_file_counts(store: Path) -> None:
    """What a killed coordinator left in its log is read like all else."""
    with duckdb.connect(store) as con:
        con.execute("SET GLOBAL wal_autocheckpoint = '1TB'")
        con.execute("PRAGMA disable_checkpoint_on_shutdown")
        con.execute("INSERT INTO batches FROM batches WHERE seq = 4")
    assert store.with_name(store.name + ".wal").exists()
    assert [one.name for one in check_store(store)] == ["duplicate_reports"]
