"""Counting results into cells, against a recount in plain Python and a real DuckDB."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.store import rollup
from tests.fakes.facts import SECOND_US, T0_US, Fact, open_store, write

BIN_US = 60 * SECOND_US
_STORES: list[duckdb.DuckDBPyConnection] = []


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = _begun()
    yield connection
    connection.execute("ROLLBACK")


def _begun() -> duckdb.DuckDBPyConnection:
    if not _STORES:
        _STORES.append(open_store())
    _STORES[0].execute("BEGIN")
    return _STORES[0]


def _empty() -> duckdb.DuckDBPyConnection:
    """A store without rows; each example of a law begins with one."""
    connection = open_store()
    rollup.prepare(connection)
    return connection


FACTS = st.builds(
    Fact,
    slot_at_us=st.integers(0, 17).map(lambda s: T0_US + s * 10 * SECOND_US),
    check_no=st.integers(1, 3),
    family=st.sampled_from([4, 6]),
    received_at_us=st.integers(0, 600).map(lambda s: T0_US + s * SECOND_US),
    vantage=st.sampled_from(["v01", "v02"]),
    component=st.sampled_from(["web", "api"]),
    kind=st.sampled_from(["icmp", "tcp", "http", "dns", "tls"]),
    state=st.sampled_from(["measured", "measured", "measured", "not_run"]),
    validity=st.sampled_from(["ok", "ok", "ok", "late_start", "clock_suspect"]),
    trigger=st.sampled_from(["schedule", "schedule", "schedule", "confirmation", "request"]),
    control=st.sampled_from([None, None, None, "second_port"]),
    failure=st.sampled_from([None, None, "timeout", "http_status", "local_no_route"]),
    http_status=st.sampled_from([None, 200, 503]),
    sent=st.integers(0, 3),
    lost=st.just(0),
    address=st.sampled_from([None, "198.18.0.10"]),
    rtt_ms_median=st.sampled_from([None, 1.0, 2.5, 40.0]),
    first_byte_ms=st.sampled_from([None, 7.0, 90.0]),
    total_ms=st.sampled_from([None, 100.0]),
    tls_ms=st.sampled_from([None, 12.0]),
)


def _answer_ms(fact: Fact) -> float | None:
    if fact.kind == "http":
        return fact.total_ms if fact.first_byte_ms is None else fact.first_byte_ms
    if fact.kind == "tls" and fact.tls_ms is not None:
        return fact.tls_ms
    if fact.rtt_ms_median is None and fact.kind != "tls":
        return fact.total_ms
    return fact.rtt_ms_median


def _is_local(fact: Fact) -> bool:
    return fact.failure is not None and fact.failure.startswith("local_")


def _recount(facts: Sequence[Fact], *, as_of_us: int) -> dict[tuple[object, ...], tuple[int, int]]:
    """(sent, lost) per bin, vantage, component, kind, address, failure and status."""
    sums: dict[tuple[object, ...], tuple[int, int]] = defaultdict(lambda: (0, 0))
    firsts: dict[tuple[object, ...], Fact] = {}
    evidence = [fact for fact in facts if fact.trigger == "schedule" and fact.control is None]
    for fact in sorted(evidence, key=lambda fact: (fact.received_at_us, fact.seq)):
        slot = (fact.probe_id, fact.check_no, fact.slot_at_us, fact.family)
        firsts.setdefault(slot, fact)
    for fact in firsts.values():
        fit = fact.validity == "ok" or _is_local(fact)
        if fact.state != "measured" or not fit or fact.received_at_us > as_of_us:
            continue
        start = fact.slot_at_us - fact.slot_at_us % BIN_US
        key = (
            start, fact.vantage, fact.component, fact.kind,
            None if fact.kind == "dns" else fact.address,
            fact.failure, fact.http_status,
        )  # fmt: skip
        least = 0 if fact.failure is None else 1
        weight = 0 if _is_local(fact) else 1
        sent, lost = sums[key]
        sums[key] = (
            sent + weight * max(fact.sent, least),
            lost + weight * max(fact.lost, least),
        )
    return dict(sums)


def _cells(connection: duckdb.DuckDBPyConnection, *, as_of_us: int) -> dict[object, object]:
    rows = connection.execute(
        """SELECT epoch_us(slot_at), vantage, component, kind, address, failure, http_status,
                  CAST(sum(sent) AS BIGINT), CAST(sum(lost) AS BIGINT)
           FROM cells WHERE received_at <= ? GROUP BY ALL""",
        [rollup.utc(as_of_us)],
    ).fetchall()
    return {row[:7]: row[7:] for row in rows}


def _count_all(
    connection: duckdb.DuckDBPyConnection, *, as_of_us: int, pieces: rollup.Pieces = rollup.PIECES
) -> None:
    starts = [T0_US + n * BIN_US for n in range(3)]
    rollup.count_bins(connection, starts, bin_us=BIN_US, as_of_us=as_of_us, pieces=pieces)


@given(
    facts=st.lists(FACTS, max_size=25),
    cut=st.integers(0, 600),
    pieces=st.sampled_from([rollup.PIECES, rollup.Pieces(slice_rows=2, part_rows=3)]),
)
@settings(max_examples=50, deadline=None)
def test_cells_equal_a_recount_however_late_the_rows_came(
    facts: list[Fact], cut: int, pieces: rollup.Pieces
) -> None:
    """Counting in two steps, whole or in pieces, gives the same sums as a recount, at both instants."""
    connection = _empty()
    early_us, end_us = T0_US + cut * SECOND_US, T0_US + 601 * SECOND_US
    write(connection, [fact for fact in facts if fact.received_at_us <= early_us])
    _count_all(connection, as_of_us=early_us, pieces=pieces)
    write(connection, [fact for fact in facts if fact.received_at_us > early_us])
    _count_all(connection, as_of_us=end_us, pieces=pieces)
    assert _cells(connection, as_of_us=end_us) == _recount(facts, as_of_us=end_us)
    assert _cells(connection, as_of_us=early_us) == _recount(facts, as_of_us=early_us)
    connection.close()


@given(facts=st.lists(FACTS, max_size=25), split=st.integers(0, 25), cut=st.integers(0, 600))
@settings(max_examples=30, deadline=None)
def test_rows_committed_after_their_count_are_still_counted_once(
    facts: list[Fact], split: int, cut: int
) -> None:
    """A row committed after its count rebuilds its bin; nothing doubles, and no `as_of` loses."""
    connection = _empty()
    early_us, end_us = T0_US + cut * SECOND_US, T0_US + 601 * SECOND_US
    write(connection, facts[:split])
    _count_all(connection, as_of_us=early_us)
    _count_all(connection, as_of_us=end_us)
    write(connection, facts[split:])
    _count_all(connection, as_of_us=end_us)
    assert _cells(connection, as_of_us=end_us) == _recount(facts, as_of_us=end_us)
    assert _cells(connection, as_of_us=early_us) == _recount(facts, as_of_us=early_us)
    connection.close()


def test_a_rebuilt_bin_still_shows_what_was_known_before(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """What came after a count never hides, in one cell with it, what had come by then."""
    count_us, later_us = T0_US + BIN_US, T0_US + 5 * BIN_US
    write(store, [Fact(check_no=n) for n in range(10)])
    rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=count_us)
    late = Fact(check_no=10, received_at_us=count_us - SECOND_US)
    write(store, [late, Fact(check_no=11, received_at_us=count_us + SECOND_US)])
    counted = rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=later_us)
    assert counted == (rollup.Counted(bin_us=T0_US, result_rows=12, rebuilt=True),)
    assert list(_cells(store, as_of_us=count_us).values()) == [(11, 0)]
    assert list(_cells(store, as_of_us=later_us).values()) == [(12, 0)]


def test_a_slot_that_came_again_weighs_nothing(store: duckdb.DuckDBPyConnection) -> None:
    """The row that was received first counts, though the repetition came after a count."""
    write(store, [Fact(seq=1), Fact(seq=2, failure="timeout", operation="connect", lost=1)])
    rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=T0_US + BIN_US)
    write(store, [Fact(received_at_us=T0_US + 2 * BIN_US), Fact(family=6)])
    rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=T0_US + 3 * BIN_US)
    found = store.execute("SELECT family, sent, failure FROM cells ORDER BY family").fetchall()
    assert found == [(4, 1, None), (6, 1, None)]


def test_the_time_of_a_cell_is_the_median_of_its_good_rows(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """Failed rows and wholly lost ones have no time; http is timed to its first byte."""
    times = [10.0, 30.0, 90.0]
    write(
        store,
        [
            Fact(check_no=n, kind="http", first_byte_ms=t, total_ms=t * 2)
            for n, t in enumerate(times)
        ],
    )
    write(store, [Fact(check_no=9, kind="http", first_byte_ms=999.0, sent=2, lost=2)])
    rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=T0_US + BIN_US)
    found = store.execute("SELECT rtt_ms, sent, lost FROM cells").fetchall()
    assert found == [(statistics.median(times), 5, 2)]


def test_what_a_vantage_could_not_do_weighs_nothing(store: duckdb.DuckDBPyConnection) -> None:
    """A local failure is seen in the cells with neither attempts nor losses."""
    write(store, [Fact(failure="local_no_route", operation="connect", sent=3, lost=3)])
    rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=T0_US + BIN_US)
    found = store.execute("SELECT sent, lost, failure, vantage FROM cells").fetchall()
    assert found == [(0, 0, "local_no_route", "v01")]


def test_a_redirect_that_a_vantage_may_not_follow_is_no_evidence(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """The row says what was answered; no cell counts it, as an attempt or as a loss."""
    http = {"kind": "http", "operation": "reply", "sent": 1}
    write(
        store,
        [
            Fact(**http, failure="http_redirect", lost=1, validity="probe_fault"),
            Fact(**http, probe_id="p02", vantage="v02", failure="http_redirect", lost=1),
        ],
    )
    rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=T0_US + BIN_US)
    found = store.execute("SELECT vantage, sent, lost FROM cells").fetchall()
    assert found == [("v02", 1, 1)]


def test_coverage_counts_every_row_once(store: duckdb.DuckDBPyConnection) -> None:
    """The view says how many rows of a minute counted, and why the others did not."""
    rollup.prepare(store)
    write(
        store,
        [
            Fact(),
            Fact(state="not_run", reason="overloaded", sent=0),
            Fact(failure="local_no_port", validity="probe_fault"),
            Fact(failure="http_redirect", validity="probe_fault"),
            Fact(validity="late_start"),
            Fact(validity="clock_suspect"),
            Fact(trigger="confirmation"),
            Fact(control="neutral_sni"),
        ],
    )
    found = store.execute(
        "SELECT slots, counted, not_run, local_failed, late_start, clock_suspect FROM coverage"
    ).fetchall()
    assert found == [(6, 1, 1, 2, 1, 1)]


def test_bins_tell_what_waits(store: duckdb.DuckDBPyConnection) -> None:
    """A bin shows its rows, its newest arrival, and since when rows wait for a count."""
    second = T0_US + SECOND_US
    write(store, [Fact(), Fact(received_at_us=second + 5)])
    before = rollup.find_bins(store, bin_us=BIN_US, since_us=T0_US)
    assert before.counted == {}
    assert before.arrived[T0_US].rows == 2
    rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=second + 5)
    write(store, [Fact(received_at_us=second + 20), Fact(received_at_us=second + 30)])
    after = rollup.find_bins(store, bin_us=BIN_US, since_us=second + 20)
    assert after.counted == {T0_US: 2}
    arrival = after.arrived[T0_US]
    assert (arrival.rows, arrival.waiting_since_us, arrival.newest_us) == (
        4,
        second + 20,
        second + 30,
    )


def test_only_touched_bins_are_looked_at(store: duckdb.DuckDBPyConnection) -> None:
    """Bins without an arrival since the last look are not found again."""
    write(store, [Fact(), Fact(slot_at_us=T0_US + BIN_US, received_at_us=T0_US + 2 * BIN_US)])
    found = rollup.find_bins(store, bin_us=BIN_US, since_us=T0_US + BIN_US)
    assert set(found.arrived) == {T0_US + BIN_US}


def test_a_bin_nobody_reported_in_is_recorded_as_counted_over_nothing(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """Silence is a fact on record: counted over 0 rows."""
    counted = rollup.count_bins(store, [T0_US], bin_us=BIN_US, as_of_us=T0_US + BIN_US)
    assert counted == (rollup.Counted(bin_us=T0_US, result_rows=0, rebuilt=False),)
    assert store.execute("SELECT result_rows FROM rollups").fetchall() == [(0,)]


def test_a_change_of_width_counts_nothing_twice() -> None:
    """After a change from 60 s to 45 s bins, the sums over all live cells stay what they were."""
    connection = _empty()
    write(connection, [Fact(slot_at_us=T0_US + s * SECOND_US) for s in range(0, 360, 5)])
    end_us = T0_US + 360 * SECOND_US
    starts = [T0_US + n * BIN_US for n in range(6)]
    rollup.count_bins(connection, starts, bin_us=BIN_US, as_of_us=end_us)
    narrow_us = 20 * SECOND_US
    since_us = rollup.adopt_width(connection, bin_us=narrow_us, since_us=T0_US + 170 * SECOND_US)
    assert since_us == T0_US + 120 * SECOND_US
    fresh = list(range(since_us, end_us, narrow_us))
    rollup.count_bins(connection, fresh, bin_us=narrow_us, as_of_us=end_us)
    assert connection.execute("SELECT sum(sent) FROM cells").fetchall() == [(72,)]
    again_us = rollup.adopt_width(connection, bin_us=narrow_us, since_us=T0_US + 300 * SECOND_US)
    assert again_us == T0_US + 300 * SECOND_US
    connection.close()


def test_a_late_row_of_an_old_bin_counts_once_after_a_change_of_width() -> None:
    """Bins of the new width take the place of the old ones around them, also for an earlier as_of."""
    connection = _empty()
    write(connection, [Fact(slot_at_us=T0_US + s * SECOND_US) for s in range(0, 360, 5)])
    end_us = T0_US + 360 * SECOND_US
    starts = [T0_US + n * BIN_US for n in range(6)]
    rollup.count_bins(connection, starts, bin_us=BIN_US, as_of_us=end_us)
    wide_us = 2 * BIN_US
    for width_us, row_us in ((wide_us, T0_US + 7_000_000), (BIN_US // 3, T0_US + 8_000_000)):
        late_us = end_us + width_us
        write(connection, [Fact(slot_at_us=row_us, received_at_us=late_us)])
        before = connection.execute("SELECT sum(sent) FROM cells").fetchall()[0][0]
        rollup.count_bins(connection, [T0_US], bin_us=width_us, as_of_us=end_us + 10 * BIN_US)
        assert connection.execute("SELECT sum(sent) FROM cells").fetchall() == [(before + 1,)]
        early = connection.execute(
            "SELECT sum(sent) FROM cells WHERE received_at <= ?", [rollup.utc(end_us)]
        ).fetchall()
        assert early == [(72,)]
    connection.close()


def test_a_count_takes_a_bounded_slice() -> None:
    """More bins than fit in one transaction are refused with the bound."""
    connection = _empty()
    starts = range(T0_US, T0_US + 31 * BIN_US, BIN_US)
    with pytest.raises(ValueError, match="at most 30"):
        rollup.count_bins(connection, starts, bin_us=BIN_US, as_of_us=T0_US)
    connection.close()
