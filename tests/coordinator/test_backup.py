"""Backups of a coordinator at work, and what is true of a store that was brought back from one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from coordinator.cli import main
from coordinator.exits import CoordinatorError
from coordinator.store.checking import check_store
from coordinator.store.registry import Registry
from probe.core.window import Window
from probe.io.disk import OsDisk, Spool, SpoolSettings
from proto.gen import fleet_pb2
from tests.fakes.commands import by_itself
from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.fleet_client import Line, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, row

LOG_LIMIT = "SELECT current_setting('wal_autocheckpoint')"
SMALL = SpoolSettings(cap_bytes=8 << 10)  # a segment holds two reports
MORE = CONFIG + '[[service.component]]\nname = "more"\nurl = "tcp://more.x.test:7"\n'


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


async def backup(house: House, to: Path, *, code: int = 0) -> str:
    """Back up a running coordinator; what the command says."""
    data = str(house.runtime.data_dir)
    done = await asyncio.to_thread(by_itself, "backup", str(to), "--data", data)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def spooled(spool: Spool, count: int) -> None:
    """So many more reports in the spool, of one row each."""
    for _ in range(count):
        body = body_of([row(1, now_us() - SECOND_US, location=f"/{os.urandom(100).hex()}")])
        packed = batch_of(body).body
        at_us = now_us()
        spool.put(
            body=packed,
            rows=1,
            raw_bytes=len(body),
            codec=fleet_pb2.Batch.CODEC_ZLIB,
            first_at_us=at_us,
        )


async def upload(line: Line, spool: Spool, window: Window, *, to_seq: int = 99) -> None:
    """What a probe does with its spool: send what is not known, and forget what is acknowledged."""
    while window.cursor[1] < to_seq and (stored := spool.read(after=window.cursor, limit=1)):
        place = (stored[0].epoch, stored[0].record.seq)
        if window.pass_by(place):
            continue
        record = stored[0].record
        window.sent(place, rows=record.rows)
        await line.send(
            batch=fleet_pb2.Batch(
                epoch=place[0],
                seq=place[1],
                rows=record.rows,
                codec=fleet_pb2.Batch.Codec.ValueType(record.codec),
                raw_bytes=record.raw_bytes,
                body=record.body,
            )
        )
        ack = await line.receive("ack")
        window.acked((ack.epoch, ack.seq))
        for epoch, seq in window.take_covered().items():
            spool.ack(epoch=epoch, seq=seq)


async def greeted(line: Line, spool: Spool) -> tuple[Window, Any]:
    """A session's beginning, as a probe has it."""
    welcome, plan = await line.hello(
        epoch=spool.epoch, next_seq=spool.next_seq, sent_at_us=now_us()
    )
    known = {mark.epoch: mark.seq for mark in welcome.have}
    for epoch, seq in known.items():
        spool.ack(epoch=epoch, seq=seq)
    return Window(welcome.window, known=known), plan


def test_a_restored_store_tells_no_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was acknowledged after the backup and dropped is a gap; what is still held comes again."""
    one, two, to = tmp_path / "one", tmp_path / "two", tmp_path / "backup"
    one.mkdir()
    two.mkdir()
    spool = Spool(OsDisk(tmp_path / "spool"), settings=SMALL, now_us=now_us())

    async def before() -> tuple[Any, Any]:
        async with a_coordinator(one) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                window, plan = await greeted(line, spool)
                spooled(spool, 2)
                await upload(line, spool, window)
                await backup(house, to)
                spooled(spool, 8)
                await upload(line, spool, window, to_seq=7)
            return probe, plan

    probe, plan = asyncio.run(before())
    assert main(["restore", str(to), "--data", str(two / "d")]) == 0
    assert "it shows\n  in the view gaps" in capsys.readouterr().out
    held = [one.record.seq for one in spool.read(after=(0, 0), limit=99)]
    assert 3 < held[0] <= 7  # acknowledged, and in a segment with one that is not
    assert held == list(range(held[0], 11))

    async def after() -> None:
        async with a_coordinator(two, config=MORE) as house:
            async with session(house.fleet, probe.channel()) as line:
                window, again = await greeted(line, spool)
                assert window._known == {spool.epoch: 2}
                assert again.version > plan.version + 1_000_000
                numbers = {check.check_id: check.check_no for check in again.checks}
                old = {check.check_id: check.check_no for check in plan.checks}
                assert old.items() <= numbers.items()
                assert min(n for name, n in numbers.items() if name not in old) > 4000
                spooled(spool, 2)
                await upload(line, spool, window)
            seqs = [seq for (seq,) in house.ask("SELECT seq FROM batches ORDER BY seq")]
            assert seqs == [1, 2, *range(held[0], 13)]
            assert house.ask("SELECT count(*), count(DISTINCT seq) FROM results") == [
                (len(seqs), len(seqs))
            ]
            assert house.ask(
                "SELECT from_seq, to_seq, reports, restored_at = (SELECT restored_at FROM restores)"
                " FROM gaps"
            ) == [(3, held[0] - 1, held[0] - 3, True)]
            assert house.ask("SELECT count(*) FROM rejects") == [(0,)]

    asyncio.run(after())
    assert check_store(two / "d" / "soundings.duckdb") == []


def test_results_flow_while_a_backup_is_made(tmp_path: Path) -> None:
    """Reports are acknowledged meanwhile; the copy holds a whole prefix of them and nothing else."""
    to = tmp_path / "backup"

    async def scenario() -> tuple[int, int]:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            done = asyncio.Event()
            seq = 0

            async def report() -> None:
                nonlocal seq
                async with session(house.fleet, probe.channel()) as line:
                    await line.hello(sent_at_us=now_us())
                    while not done.is_set():
                        rows = [row(1, now_us() - SECOND_US, total_us=n + 1) for n in range(50)]
                        await line.send(batch=batch_of(body_of(rows), seq=seq + 1, rows=50))
                        seq = (await line.receive("ack")).seq

            before = house.ask(LOG_LIMIT)
            sending = asyncio.create_task(report())
            await house.until("SELECT count(*) > 2 FROM batches", [(True,)])
            first = seq
            await backup(house, to)
            last = seq
            await house.until(f"SELECT max(seq) > {last} FROM batches", [(True,)])  # noqa: S608
            done.set()
            await sending
            await house.until(LOG_LIMIT, before)
            return first, last

    first, last = asyncio.run(scenario())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "d", "soundings.toml"]
    manifest = json.loads((to / "manifest.json").read_text())
    ((marks),) = manifest["high_water_marks"].values()
    assert first <= marks[f"{7:016x}"] <= last
    assert last > first + 1
    with duckdb.connect(to / "soundings.duckdb", read_only=True) as con:
        assert con.execute("SELECT count(*), max(seq) FROM batches").fetchall() == [
            (marks[f"{7:016x}"], marks[f"{7:016x}"])
        ]
    assert check_store(to / "soundings.duckdb") == []
    assert main(["check-store", str(to)]) == 0
    for path in (to, *to.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    secret = {one["path"] for one in manifest["files"] if one["secret"]}
    assert secret == {"ca/key.pem", "registry.duckdb"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator that is stopped, with one unused token, and its backup `b`."""
    path = tmp_path_factory.mktemp("built")

    async def scenario() -> None:
        async with a_coordinator(path) as house:
            await house.probe()
            await house.token()

    asyncio.run(scenario())
    assert main(["backup", str(path / "b"), "--data", str(path / "d")]) == 0
    return path


@pytest.fixture
def made(built: Path, tmp_path: Path) -> Path:
    """The backup, beside its data directory, to do with as one likes."""
    shutil.copytree(built, tmp_path / "built")
    return tmp_path / "built" / "b"


def test_a_backup_overwrites_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is taken is refused, and so is a directory that no coordinator ever used."""
    data = made.parent / "d"
    assert main(["backup", str(made), "--data", str(data)]) == 2
    assert "is there already and a backup overwrites nothing" in capsys.readouterr().err
    assert main(["backup", str(made.parent / "c"), "--data", str(made.parent / "no")]) == 7
    assert "no coordinator ever used this data directory" in capsys.readouterr().err
    assert main(["backup", str(made.parent / "no" / "c"), "--data", str(data)]) == 7
    assert "no backup was made" in capsys.readouterr().err


def test_a_restore_overwrites_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A data directory that holds anything is refused and left as it is."""
    data = made.parent / "d"
    before = sorted(path.name for path in data.iterdir())
    assert main(["restore", str(made), "--data", str(data)]) == 7
    assert "a restore overwrites nothing" in capsys.readouterr().err
    assert sorted(path.name for path in data.iterdir()) == before


def test_a_restore_withdraws_what_may_have_been_used(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The unused token ends, the probe stays, and the CA and its modes are those of the backup."""
    data = made.parent / "e"
    data.mkdir(mode=0o755)
    assert main(["restore", str(made), "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["withdrawn"] == 1
    registry = Registry(data / "registry.duckdb", wall=now_us)
    assert len(registry.probes()) == 1
    assert {t.expires_at_us <= now_us() for t in registry._tokens.values() if not t.used_by} == {
        True
    }
    registry.close()
    assert (data / "ca/key.pem").read_bytes() == (made / "ca/key.pem").read_bytes()
    names = ["ca", "coordinator.lock", "registry.duckdb", "soundings.duckdb"]
    assert sorted(path.name for path in data.iterdir()) == names
    assert (data / "ca/key.pem").stat().st_mode & 0o777 == 0o600


def _spoil_manifest(made: Path, **fields: Any) -> None:
    file = made / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


SPOILED = {
    "no manifest": (lambda b: (b / "manifest.json").unlink(), "cannot be read"),
    "not JSON": (lambda b: (b / "manifest.json").write_text("{"), "not JSON"),
    "another format": (lambda b: _spoil_manifest(b, soundings_backup=9), "soundings_backup is 9"),
    "a newer schema": (lambda b: _spoil_manifest(b, schema_version=99), "schema_version is 99"),
    "no instant": (
        lambda b: _spoil_manifest(b, made_at_us=-1),
        "made_at_us -1 is missing or wrong",
    ),
    "a path outside": (
        lambda b: _spoil_manifest(b, files=[{"path": "../x", "bytes": 1, "sha256": ""}]),
        "path '../x' is missing or wrong",
    ),
    "too few files": (lambda b: _spoil_manifest(b, files=[]), "files lacks ca/key.pem"),
    "a flipped bit": (lambda b: _flip(b / "soundings.duckdb"), "the backup is damaged"),
    "a cut key": (lambda b: (b / "ca/key.pem").write_bytes(b""), "the backup is damaged"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_backup_is_refused(
    made: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Code 3 and what is wrong with which file; the data directory stays empty."""
    spoil, said = SPOILED[how]
    spoil(made)
    data = made.parent / "e"
    assert main(["restore", str(made), "--data", str(data)]) == 3
    assert said in capsys.readouterr().err
    left = [path.name for path in data.iterdir()] if data.exists() else []
    assert left in ([], ["coordinator.lock"])


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda b: _spoil_manifest(b, high_water_marks={"p": {"0": 1}}), "marks"),
        (lambda b: (b / "ca/key.pem").unlink(), "files"),
        (lambda b: (b / "manifest.json").write_text("["), "manifest"),
    ],
)
def test_a_backup_is_checked_against_its_manifest(
    made: Path, capsys: pytest.CaptureFixture[str], spoil: Any, name: str
) -> None:
    """Its store may be good, and the rest of it not."""
    assert main(["check-store", str(made)]) == 0
    capsys.readouterr()
    spoil(made)
    assert main(["check-store", str(made), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["damage"]
    assert found["name"] == name


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("DELETE FROM probes", "unregistered_probes"),
        ("INSERT INTO probes FROM probes", "duplicate_probes"),
    ],
)
def test_a_registry_that_does_not_fit_its_store_is_found(
    made: Path, capsys: pytest.CaptureFixture[str], sql: str, name: str
) -> None:
    """Probes that the store has and the registry has not could never come back."""
    data = made.parent / "d"
    with duckdb.connect(data / "registry.duckdb") as con:
        con.execute(sql)
    assert main(["check-store", str(data), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["damage"]
    assert found["name"] == name


def test_a_restore_that_was_killed_is_no_store(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a coordinator nor another restore takes what lies there for whole."""
    data = made.parent / "e"
    (data / "restoring").mkdir(parents=True)
    config = made.parent / "soundings.toml"
    assert main(["run", "--config", str(config), "--data", str(data)]) == 7
    assert "a restore into it did not finish" in capsys.readouterr().err
    assert main(["restore", str(made), "--data", str(data)]) == 7
    assert "a restore into it did not finish" in capsys.readouterr().err


def test_what_cannot_be_read_back_is_no_backup(tmp_path: Path) -> None:
    """A copy that does not answer as a store: code 7, why, and nothing left behind."""

    async def scenario() -> str:
        async with a_coordinator(tmp_path) as house:
            hide = "ALTER TABLE batches RENAME TO hidden"
            await house.runtime.store.run_in_store(lambda con: con.execute(hide).fetchall())
            return await backup(house, tmp_path / "b", code=7)

    assert "no backup was made" in asyncio.run(scenario())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "soundings.toml"]


def test_a_disk_that_fills_up_leaves_no_backup(made: Path) -> None:
    """The kernel refuses a write half-way: code 7, and neither a directory nor a part of one."""
    data, to = made.parent / "d", made.parent / "c"
    before = sorted(path.name for path in made.parent.iterdir())
    done = by_itself("backup", str(to), "--data", str(data), file_kib=64)
    assert done.returncode == 7
    assert f"{to}: no backup was made" in done.stderr
    assert sorted(path.name for path in made.parent.iterdir()) == before


def test_one_backup_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who comes second is told; who comes after the first is done is served."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            before = house.ask(LOG_LIMIT)
            async with house.operator.hold():
                assert house.ask(LOG_LIMIT) != before
                with pytest.raises(CoordinatorError, match="a backup is being made already"):
                    async with house.operator.hold():
                        pass
            await house.until(LOG_LIMIT, before)
            await backup(house, tmp_path / "b")

    asyncio.run(scenario())
