"""The writer: groups, fates, poison, trouble, and what is durable when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from coordinator.core.intake import BatchName
from coordinator.store.commit import Arrival, Fate, Faults
from coordinator.store.readers import StoreUnavailableError
from coordinator.store.rows import HeartbeatRow
from coordinator.store.writer import Store
from tests.fakes.coordinator_store import Disk, Fates, a_store, ask, submit
from tests.fakes.reports import NOW_US, SECOND_US, failed, not_run, row

P1, P2 = "p1", "p2"


def beat(probe_id: str = P1, sent_at_us: int = NOW_US) -> HeartbeatRow:
    """A heartbeat with little to say."""
    return HeartbeatRow(
        received_at_us=NOW_US,
        sent_at_us=sent_at_us,
        probe_id=probe_id,
        plan_version=1,
        uptime_s=1.5,
        rss_bytes=None,
        cpu_s=0.5,
        spool_bytes=0,
        spool_rows=0,
        evicted_rows=0,
        queue_depth=0,
        lateness_ms_p99=None,
        receive_drops=None,
        clock_synchronised=None,
        overloaded_slots=0,
        clock_drift_ppm=None,
    )


def test_a_committed_row_carries_everything_that_was_known(tmp_path: Path) -> None:
    """Each value arrives as sent, in milliseconds, beside what the coordinator knows of it."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            fates = Fates()
            submit(store, fates, [row(2), failed(3), not_run(4)], BatchName(P1, 7, 1))
            assert await fates.wait(1) == [Fate.COMMITTED]
            good, bad, none = ask(
                store,
                "SELECT slot_at, started_at, received_at, probe_id, boot_id, seq, check_id, kind, "
                "service, component, role, vantage, vantage_asn, vantage_country, target_asn, "
                "target_prefix, state, reason, address, port, family, operation, failure, sent, "
                "lost, rtt_ms_min, rtt_ms_median, rtt_ms_max, stamp_source, router, icmp_type, "
                "lateness_ms, clock_offset_ms, clock_error_ms, validity "
                "FROM results ORDER BY check_no",
            )
            at = datetime.fromtimestamp(NOW_US / 1e6 - 10).astimezone().replace(tzinfo=None)
            assert good[:1] == (
                ask(store, f"SELECT make_timestamp({NOW_US - 10 * SECOND_US})")[0][0],
            )
            assert abs((good[1] - good[0]).total_seconds() - 0.0015) < 1e-9
            assert at.year == good[0].year
            assert good[3:20] == (
                P1, "0000000000000007", 1, "x/spaces/tcp/4", "tcp", "x", "spaces", "subject", "v01",
                64512, "DE", 64500, "192.0.2.0/24", "measured", None, "192.0.2.1", 443,
            )  # fmt: skip
            assert good[20:] == (
                4, None, None, 1, 0, 12.0, 12.5, 13.0, "tcp_info", None, None,
                1.5, -0.25, pytest.approx(0.9), "ok",
            )  # fmt: skip
            assert bad[21:25] == ("connect", "refused", 1, 1)
            assert (bad[25], bad[29], bad[30]) == (None, "198.51.100.1", 3)
            assert none[16:18] == ("not_run", "overloaded")
            assert none[1] is None

    asyncio.run(scenario())


def test_a_duplicate_is_acknowledged_and_stored_once(tmp_path: Path) -> None:
    """A report that comes again, in the same group, later or after a restart, adds no row."""

    async def scenario() -> None:
        fates = Fates()
        async with a_store(tmp_path) as store:
            for session in (1, 2):
                submit(store, fates, [row()], BatchName(P1, 7, 1), session=session)
            await fates.wait(2)
            submit(store, fates, [row()], BatchName(P1, 7, 1))
            submit(store, fates, [row()], BatchName(P1, 8, 1))
            submit(store, fates, [row()], BatchName(P2, 7, 1))
            await fates.wait(5)
        async with a_store(tmp_path) as store:
            submit(store, fates, [row()], BatchName(P1, 7, 1))
            await fates.wait(6)
            assert fates.by_seq[P1, 7, 1][0] is Fate.DUPLICATE
            assert ask(store, "SELECT count(*) FROM results") == [(3,)]
            assert ask(store, "SELECT probe_id, epoch, seq, row_count FROM batches ORDER BY ALL") == [
                (P1, 7, 1, 1), (P1, 8, 1, 1), (P2, 7, 1, 1),
            ]  # fmt: skip
            assert store.marks_of(P1) == {7: 1, 8: 1}
            assert (store.counts.duplicate, store.counts.committed) == (1, 0)

    asyncio.run(scenario())


def test_a_bad_report_is_rejected_and_recorded_and_the_others_committed(tmp_path: Path) -> None:
    """Its reason is in the table rejects, its rows nowhere."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            fates = Fates()
            for seq, lost in ((1, 0), (2, 5), (3, 0)):
                submit(store, fates, [row(lost=lost)], BatchName(P1, 7, seq))
            assert await fates.wait(3) == [Fate.COMMITTED, Fate.REJECTED, Fate.COMMITTED]
            assert ask(store, "SELECT epoch, seq, row_count, reason FROM rejects") == [
                (7, 2, 1, "more attempts lost than sent")
            ]
            assert ask(store, "SELECT list(seq ORDER BY seq) FROM results") == [([1, 3],)]
            assert store.counts.rejected == 1

    asyncio.run(scenario())


def poison(arrivals: Sequence[Arrival]) -> None:
    """Refuses every group that holds a report of p2, as a store refuses a value it cannot hold."""
    if any(arrival.name.probe_id == P2 for arrival in arrivals):
        raise duckdb.ConversionException("a value the store cannot hold")


def test_a_poison_report_is_found_by_halving(tmp_path: Path) -> None:
    """One report that the store itself refuses is isolated; every other one of its group is kept."""

    async def scenario() -> None:
        async with a_store(tmp_path, faults=Faults(before_insert=poison)) as store:
            fates = Fates()
            store.record(beat())
            for seq in range(1, 41):
                submit(store, fates, [row()], BatchName(P1, 7, seq))
            submit(store, fates, [row()], BatchName(P2, 7, 1))
            for seq in range(41, 61):
                submit(store, fates, [row()], BatchName(P1, 7, seq))
            replies = await fates.wait(61)
            assert replies == [Fate.COMMITTED] * 60 + [Fate.REJECTED]
            assert ask(store, "SELECT count(*) FROM results") == [(60,)]
            assert ask(store, "SELECT probe_id, reason FROM rejects") == [
                (P2, "the store refused its rows: a value the store cannot hold")
            ]
            assert ask(store, "SELECT count(*) FROM heartbeats") == [(1,)]

    asyncio.run(scenario())


class PanicError(BaseException):
    """What a parser in another language raises: not even an Exception."""


@pytest.mark.parametrize("error", [AttributeError, PanicError, StopIteration])
def test_an_unforeseen_failure_costs_one_report(tmp_path: Path, error: type[BaseException]) -> None:
    """It is treated as poison: isolated, rejected with a reason, and the writer lives."""

    def fail(arrivals: Sequence[Arrival]) -> None:
        if any(arrival.name.probe_id == P2 for arrival in arrivals):
            raise error

    async def scenario() -> None:
        async with a_store(tmp_path, faults=Faults(before_insert=fail)) as store:
            fates = Fates()
            submit(store, fates, [row()], BatchName(P1, 7, 1))
            submit(store, fates, [row()], BatchName(P2, 7, 1))
            submit(store, fates, [row()], BatchName(P1, 7, 2))
            assert await fates.wait(3) == [Fate.COMMITTED, Fate.COMMITTED, Fate.REJECTED]
            (reason,) = ask(store, "SELECT reason FROM rejects")[0]
            assert reason.strip() == f"the store refused its rows: {error.__name__}"
            assert store.is_alive()

    asyncio.run(scenario())


def test_a_writer_that_ends_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Who waits is told, who comes later too, and it counts as dead."""

    def broken_clock() -> float:
        raise PanicError

    async def scenario() -> None:
        async with asyncio.timeout(20):
            store = Store(
                tmp_path / "s.duckdb", free_bytes=Disk().free_bytes, monotonic=broken_clock
            )
            store.start()
            for _ in range(2):
                waiting = asyncio.create_task(store.run_in_store(lambda _: None))
                with pytest.raises(StoreUnavailableError, match="takes nothing more"):
                    await waiting
                fates = Fates()
                submit(store, fates, [row()], BatchName(P1, 7, 1))
                assert await fates.wait(1) == [Fate.DEFERRED]
            assert not store.is_alive()
            assert (store.trouble or "").startswith("the writer ended: PanicError")
            await store.stop()

    asyncio.run(scenario())


def test_a_claim_that_does_not_fit_its_table_is_dropped_alone(tmp_path: Path) -> None:
    """A heartbeat with an impossible stamp costs neither the heartbeats nor the reports beside it."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            fates = Fates()
            store.record(beat())
            store.record(beat(sent_at_us=(1 << 63) - 1))
            store.record(beat(P2))
            submit(store, fates, [row()], BatchName(P1, 7, 1))
            assert await fates.wait(1) == [Fate.COMMITTED]
            assert ask(store, "SELECT probe_id FROM heartbeats ORDER BY ALL") == [(P1,), (P2,)]

    asyncio.run(scenario())


class FailingDisk:
    """Fails the next commits as a full disk would."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def strike(self) -> None:
        """Called before each commit."""
        if self.failures:
            self.failures -= 1
            raise duckdb.IOException("No space left on device")


def test_a_failed_commit_acknowledges_nothing_and_a_later_try_takes_all(tmp_path: Path) -> None:
    """Deferred reports are in no table; sent again they are committed, in order and once."""

    async def scenario() -> None:
        disk = FailingDisk(1)
        async with a_store(tmp_path, faults=Faults(before_commit=disk.strike)) as store:
            fates = Fates()
            store.record(beat())
            submit(store, fates, [row()], BatchName(P1, 7, 1))
            assert await fates.wait(1) == [Fate.DEFERRED]
            assert store.trouble is not None
            assert ask(store, "SELECT count(*) FROM results") == [(0,)]
            submit(store, fates, [row()], BatchName(P1, 7, 1), session=2)
            await fates.wait(2)
            assert fates.by_seq[P1, 7, 1][0] is Fate.COMMITTED
            assert store.trouble is None
            assert ask(store, "SELECT count(*) FROM heartbeats") == [(1,)]

    asyncio.run(scenario())


def test_after_a_deferred_report_nothing_of_its_session_is_committed(tmp_path: Path) -> None:
    """A later report must not lift the mark over a deferred one: that would lose it for ever."""

    async def scenario() -> None:
        disk = FailingDisk(1)
        async with a_store(tmp_path, faults=Faults(before_commit=disk.strike)) as store:
            fates = Fates()
            submit(store, fates, [row()], BatchName(P1, 7, 1), session=1)
            await fates.wait(1)
            submit(store, fates, [row()], BatchName(P1, 7, 2), session=1)
            assert await fates.wait(2) == [Fate.DEFERRED, Fate.DEFERRED]
            store.end_session(1)
            for seq in (1, 2):
                submit(store, fates, [row()], BatchName(P1, 7, seq), session=2)
            assert await fates.wait(4) == [Fate.COMMITTED, Fate.COMMITTED]
            assert ask(store, "SELECT list(seq ORDER BY seq) FROM batches") == [([1, 2],)]

    asyncio.run(scenario())


def test_a_dead_database_is_opened_anew(tmp_path: Path) -> None:
    """A fatal error kills the open file; the store opens it again and goes on with what it had."""

    async def scenario() -> None:
        strikes = [1]

        def kill() -> None:
            if strikes.pop() if strikes else 0:
                store._opened.close()
                raise duckdb.FatalException("the database is dead")

        async with a_store(tmp_path) as store:
            store._faults = Faults(before_commit=kill)
            fates = Fates()
            submit(store, fates, [row()], BatchName(P1, 7, 1))
            assert await fates.wait(1) == [Fate.DEFERRED]
            submit(store, fates, [row()], BatchName(P1, 7, 1), session=2)
            await fates.wait(2)
            assert fates.by_seq[P1, 7, 1][0] is Fate.COMMITTED
            assert ask(store, "SELECT count(*) FROM results") == [(1,)]

    asyncio.run(scenario())


def test_below_the_free_space_mark_nothing_is_taken(tmp_path: Path) -> None:
    """The store stops before the disk is full, says what to do, and goes on when there is room."""

    async def scenario() -> None:
        disk = Disk()
        async with a_store(tmp_path, disk=disk) as store:
            store.free_mark_bytes = 256 << 20
            disk.free = 100 << 20
            fates = Fates()
            submit(store, fates, [row()], BatchName(P1, 7, 1))
            assert await fates.wait(1) == [Fate.DEFERRED]
            assert (store.trouble or "").startswith("100 MiB free beside ")
            assert "less than the mark of 256 MiB" in (store.trouble or "")
            disk.free = 300 << 20
            submit(store, fates, [row()], BatchName(P1, 7, 1), session=2)
            await fates.wait(2)
            assert fates.by_seq[P1, 7, 1][0] is Fate.COMMITTED

    asyncio.run(scenario())


def test_a_call_runs_in_a_transaction_of_its_own(tmp_path: Path) -> None:
    """What it returns comes back; what it raises is raised, and nothing of it is kept."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:

            def spoil(con: duckdb.DuckDBPyConnection) -> None:
                con.execute("DELETE FROM checks")
                raise KeyError("half way")

            before = ask(store, "SELECT count(*) FROM checks")
            with pytest.raises(KeyError):
                await store.run_in_store(spoil)
            assert ask(store, "SELECT count(*) FROM checks") == before
            assert await store.run_in_store(lambda con: con.execute("SELECT 7").fetchall()) == [
                (7,)
            ]

    asyncio.run(scenario())


def test_a_call_that_meets_a_failing_disk_says_so(tmp_path: Path) -> None:
    """Whoever writes between groups learns that nothing happened."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:

            def fail(_: duckdb.DuckDBPyConnection) -> None:
                raise duckdb.IOException("No space left on device")

            with pytest.raises(StoreUnavailableError, match="No space left"):
                await store.run_in_store(fail)
            assert await store.run_in_store(lambda con: con.execute("SELECT 1").fetchall()) == [
                (1,)
            ]

    asyncio.run(scenario())
