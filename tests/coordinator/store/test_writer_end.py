"""How the writer ends, and what it keeps of certificates."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.core.intake import BatchName
from coordinator.rpc.authority import open_authority
from coordinator.store.commit import Fate
from coordinator.store.readers import StoreUnavailableError
from coordinator.store.writer import Store
from proto.codec import fingerprint
from proto.model import Certificate
from tests.fakes.certificates import with_version
from tests.fakes.coordinator_store import Disk, Fates, a_store, ask, submit
from tests.fakes.reports import NOW_US, row

P1 = "p1"


def test_stopping_commits_what_was_handed_over(tmp_path: Path) -> None:
    """A report that was submitted before the stop is durable after it."""

    async def scenario() -> Fates:
        fates = Fates()
        async with a_store(tmp_path) as store:
            submit(store, fates, [row()], BatchName(P1, 7, 1))
        return fates

    fates = asyncio.run(scenario())
    assert fates.by_seq[P1, 7, 1][0] is Fate.COMMITTED
    con = duckdb.connect(tmp_path / "soundings.duckdb", read_only=True)
    assert con.execute("SELECT count(*) FROM results").fetchall() == [(1,)]
    con.close()


SLOW = "SELECT count(*) FROM range(1000000000000) r(i) WHERE hash(i) % 7 = 3"


def test_stopping_ends_the_questions_that_run(tmp_path: Path) -> None:
    """A query that would take for ever is interrupted, later ones are refused, the file closes."""
    running = threading.Event()

    def read(store: Store) -> None:
        with store.cursor() as cursor:
            running.set()
            cursor.execute(SLOW).fetchall()

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            reading = asyncio.create_task(asyncio.to_thread(read, store))
            assert await asyncio.to_thread(running.wait, 10)
        with pytest.raises(duckdb.InterruptException):
            await reading
        with pytest.raises(StoreUnavailableError), store.cursor():
            raise AssertionError("lent")
        duckdb.connect(tmp_path / "soundings.duckdb", read_only=True).close()

    asyncio.run(scenario())


def test_a_cursor_that_does_not_come_back_is_no_reason_to_fail(tmp_path: Path) -> None:
    """The end of the wait is said; the cursor's own question is over."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            readers = store._opened.readers
            with readers.lend():
                assert not readers.end(wait_s=0.1)
            assert readers.end()

    asyncio.run(scenario())


def test_a_certificate_is_kept_once_even_when_it_does_not_parse(tmp_path: Path) -> None:
    """Hostile DER is kept as received, unread; a fingerprint that is known adds no row."""

    async def scenario() -> None:
        der = b"\x30\x03nonsense"
        certificate = Certificate(fingerprint(der), der)
        async with a_store(tmp_path) as store:
            fates = Fates()
            for seq in (1, 2):
                submit(store, fates, [row()], BatchName(P1, 7, seq), certificates=[certificate])
                await fates.wait(seq)
            assert ask(store, "SELECT cert_sha256, subject, der FROM certificates") == [
                (certificate.sha256, None, der)
            ]

    asyncio.run(scenario())


def test_a_certificate_of_no_known_version_costs_nothing(tmp_path: Path) -> None:
    """What its parser raises never reaches the writer: the report is committed, the bytes kept."""

    async def scenario() -> None:
        good = open_authority(tmp_path, now=datetime.fromtimestamp(NOW_US / 1e6, UTC)).certificate
        der = with_version(good.public_bytes(Encoding.DER), 7)
        certificate = Certificate(fingerprint(der), der)
        async with a_store(tmp_path) as store:
            fates = Fates()
            submit(store, fates, [row()], BatchName(P1, 7, 1), certificates=[certificate])
            assert await fates.wait(1) == [Fate.COMMITTED]
            assert ask(store, "SELECT subject, der FROM certificates") == [(None, der)]

    asyncio.run(scenario())


def test_a_store_is_opened_by_one_process_alone(tmp_path: Path) -> None:
    """Marks and plans are remembered from what the file says, for every probe."""

    async def scenario() -> None:
        fates = Fates()
        async with a_store(tmp_path) as store:
            submit(store, fates, [row(), row(2)], BatchName(P1, 9, 4))
            await fates.wait(1)
        again = Store(tmp_path / "soundings.duckdb", free_bytes=Disk().free_bytes)
        again.start()
        assert again.marks_of(P1) == {9: 4}
        await again.stop()

    asyncio.run(scenario())
