"""Accept, duplicate, reject: by envelope, by name, by columns, and never at a neighbour's cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.intake import (
    BatchName,
    ahead_of_arrival,
    allowed_checks,
    clock_is_off,
    name_fates,
    refuse_envelope,
    refuse_group,
)
from coordinator.store.merge import Merged, check_body, merge
from proto.gen import report_pb2
from proto.model import Failure, Hop, Operation, Reason, Result, State, Trigger, Validity, WireError
from tests.fakes.reports import NOW_US, SECOND_US, body_of, failed, not_run, row, spoiled

DAY_US = 86_400 * SECOND_US
ALLOWED = allowed_checks([1, 2, 5])
TRACES = allowed_checks([5])


def merged(*bodies: bytes) -> Merged:
    """These bodies as one, arriving now, from one probe."""
    count = len(bodies)
    return merge(bodies, received_us=[NOW_US] * count, allowed=[ALLOWED] * count, traces=TRACES)


def reasons(*bodies: bytes) -> tuple[str | None, ...]:
    """What is said of these bodies in one group, arriving now, from one probe."""
    return refuse_group(merged(*bodies).group)


ENVELOPES = [
    ({}, None),
    ({"seq": 0}, "seq is 0; it counts from 1"),
    ({"rows": 0}, "rows is 0; 1 to 20000 are allowed"),
    ({"rows": 20_001}, "rows is 20001; 1 to 20000 are allowed"),
    ({"raw_bytes": 0}, "raw_bytes is 0; 1 to 2097152 are allowed"),
    ({"raw_bytes": 900_000_000}, "raw_bytes is 900000000; 1 to 2097152 are allowed"),
    ({"body_bytes": 0}, "body is empty"),
]


@pytest.mark.parametrize(("changes", "reason"), ENVELOPES)
def test_an_envelope_bounds_what_unpacking_may_cost(
    changes: dict[str, int], reason: str | None
) -> None:
    """Sizes are judged before a byte is inflated."""
    good = {"rows": 1, "seq": 1, "raw_bytes": 10, "body_bytes": 8}
    assert refuse_envelope(**{**good, **changes}) == reason


ROWS: list[tuple[Any, str | None]] = [
    (row(), None),
    (not_run(), None),
    (failed(), None),
    (row(port=65_535), None),
    (row(port=70_000), "port is out of range"),
    (row(family=5), "family is neither 4 nor 6"),
    (row(family=7), "family is out of range"),
    (row(sent=70_000), "sent is out of range"),
    (row(sent=1, lost=2), "more attempts lost than sent"),
    (row(http_status=1000), "http_status is out of range"),
    (row(rtt_us_max=600_000_001), "rtt_us_max is out of range"),
    (row(rtt_us_min=5, rtt_us_median=4), "rtt_us_min exceeds rtt_us_median"),
    (row(rtt_us_median=5, rtt_us_min=1, rtt_us_max=4), "rtt_us_median exceeds rtt_us_max"),
    (row(icmp_type=256), "icmp_type is out of range"),
    (row(lateness_us=1 << 60), "lateness_us is out of range"),
    (row(clock_offset_us=-(1 << 40)), None),
    (row(at_us=NOW_US + 2 * DAY_US), "slot_at lies more than a day after its arrival"),
    (row(at_us=NOW_US - 401 * DAY_US), "slot_at lies more than 400 days before its arrival"),
    (row(at_us=NOW_US - 399 * DAY_US), None),
    (row(at_us=0), "slot_at lies more than 400 days before its arrival"),
    (row(started_at_us=NOW_US - 3 * DAY_US), "started_at lies more than a day from its slot"),
    (row(started_at_us=None), "a measured row has no start"),
    (row(reason=Reason.POLICY), "a measured row has a reason not to run"),
    (row(state=State.NOT_RUN, sent=0), "a row that did not run gives no reason"),
    (row(state=State.NOT_RUN, reason=Reason.STOPPED), "a row that did not run has attempts"),
    (row(operation=Operation.CONNECT), "operation and failure disagree"),
    (row(failure=Failure.RESET), "operation and failure disagree"),
    (row(check_no=3), "check 3 was never in a plan of this probe"),
    (row(check_no=4_000_000_000), "check 4000000000 was never in a plan of this probe"),
]


@pytest.mark.parametrize(("result", "reason"), ROWS)
def test_a_row_that_cannot_be_is_refused_with_its_reason(result: Any, reason: str | None) -> None:
    """Ranges, times, contradictions and foreign checks, each said in words."""
    assert reasons(body_of([row(2), result, row(5)])) == (reason,)


def test_a_report_that_holds_a_slot_twice_is_refused() -> None:
    """Wherever the repetition stands; another slot, check, family or report is no repetition."""
    said = "check 2 has more than one row for one slot_at; send each slot once"
    later = NOW_US - 9 * SECOND_US
    unlike = [row(1), row(2), row(2, later), row(2, family=6), failed(5)]
    assert reasons(body_of([row(2), *unlike[2:], failed(2)]), body_of(unlike)) == (said, None)
    assert reasons(body_of(unlike), body_of(unlike), body_of([row(2)] * 5)) == (None, None, said)
    confirmed = [row(2), *[row(2, trigger=Trigger.CONFIRMATION)] * 2]
    assert reasons(body_of(confirmed)) == (None,)


SPOILED: list[tuple[Callable[[Any], object], str]] = [
    (lambda b: b.state.__setitem__(0, 2), "state is out of range"),
    (lambda b: b.failure.__setitem__(1, 99), "failure is out of range"),
    (lambda b: b.validity.__setitem__(0, 4), "validity is out of range"),
    (lambda b: b.address.__setitem__(1, 50), "address is out of range"),
    (lambda b: b.reason.__setitem__(1, 5), "reason is out of range"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILED)
def test_words_outside_the_closed_lists_are_refused(
    spoil: Callable[[Any], object], reason: str
) -> None:
    """An enumeration has no other member, and a text no other dictionary."""
    assert reasons(spoiled(spoil)) == (reason,)


def test_a_bad_report_costs_its_neighbours_nothing() -> None:
    """In one group each report is judged by its own rows alone, wherever it stands."""
    good, bad = body_of([row(), row(2), not_run(5)]), body_of([row(), row(2, sent=1, lost=9)])
    assert reasons(good, bad, good, bad, good) == (
        None, "more attempts lost than sent", None, "more attempts lost than sent", None,
    )  # fmt: skip


def test_a_text_may_not_point_into_a_neighbours_dictionary() -> None:
    """After the merge a number past the own dictionary would be another probe's text."""
    thief = spoiled(lambda b: b.address.__setitem__(0, 2))
    owner = body_of([row(location="https://x.test/")])
    assert reasons(thief, owner) == ("address is out of range", None)


def test_a_slot_ahead_of_its_arrival_is_marked_not_refused() -> None:
    """More than five minutes ahead the clock cannot be right; the row is kept and says so."""
    body = body_of([row(at_us=NOW_US + 299 * SECOND_US), row(at_us=NOW_US + 301 * SECOND_US)])
    group = merged(body).group
    assert refuse_group(group) == (None,)
    assert ahead_of_arrival(group).tolist() == [False, True]


@pytest.mark.parametrize(
    ("offset_us", "error_us", "is_off"),
    [
        *((100_900, 900, False), (100_901, 900, True), (-100_900, 900, False)),
        *((-100_901, 900, True), (None, 900, False), (10**9, None, False)),
    ],
)
def test_a_clock_that_is_off_by_more_than_its_bound_is_marked(
    offset_us: int | None, error_us: int | None, *, is_off: bool
) -> None:
    """100 ms beyond the bound either way; a row that knows no offset says nothing of its clock."""
    body = body_of([row(clock_offset_us=offset_us, clock_error_us=error_us)])
    group = merged(body).group
    assert refuse_group(group) == (None,)
    assert clock_is_off(group).tolist() == [is_off]


def test_a_probe_without_a_plan_may_report_nothing() -> None:
    """Before any plan was made for it, every check is foreign to a probe."""
    nothing = allowed_checks([])
    bodies = [body_of([row(0)])]
    group = merge(bodies, received_us=[NOW_US], allowed=[nothing], traces=nothing).group
    assert refuse_group(group) == ("check 0 was never in a plan of this probe",)


def report_rows(body: bytes) -> int:
    """The number of rows that a body says it has."""
    return report_pb2.ReportBody.FromString(body).rows[0]


ROWS_DRAWN = st.builds(row, check_no=st.sampled_from([1, 2]), validity=st.sampled_from(Validity))


@given(st.lists(ROWS_DRAWN, min_size=1, max_size=5).map(body_of), st.data())
def test_flipped_bytes_never_move_a_row_to_another_report(body: bytes, data: st.DataObject) -> None:
    """Whatever a spoiled body still parses to, the good one after it is read as it was."""
    position = data.draw(st.integers(0, len(body) - 1))
    flipped = bytearray(body)
    flipped[position] ^= data.draw(st.integers(1, 255))
    good = body_of([row(2, address="203.0.113.9")])
    try:
        check_body(bytes(flipped), rows=report_rows(body))
    except WireError:
        return
    both = merged(bytes(flipped), good)
    assert both.group.check_no[-1] == 2
    position_of_text = int(both.text_columns["address"][-1])
    assert both.texts[position_of_text - 1] == "203.0.113.9"


HOPS = st.builds(
    Hop,
    ttl=st.integers(1, 255),
    packet=st.integers(0, 15),
    router=st.none() | st.sampled_from(["192.0.2.1", "198.51.100.7", "2001:db8::1"]),
    rtt_us=st.none() | st.integers(0, 600_000_000),
    icmp_type=st.none() | st.integers(0, 255),
    icmp_code=st.none() | st.integers(0, 255),
)
TRACES_DRAWN = st.lists(HOPS, max_size=6, unique_by=lambda hop: (hop.ttl, hop.packet)).map(
    lambda hops: row(5, hops=tuple(hops), trigger=Trigger.REQUEST, address=f"192.0.2.{len(hops)}")
)


@given(
    st.lists(st.lists(ROWS_DRAWN | TRACES_DRAWN, min_size=1, max_size=4), min_size=1, max_size=4)
)
def test_merged_hops_are_the_hops_of_each_report(reports: list[list[Result]]) -> None:
    """Whatever reports are merged, each hop stays with its row and keeps its router."""
    whole = merged(*map(body_of, reports))
    told = [
        (i, hop) for i, one in enumerate(each for r in reports for each in r) for hop in one.hops
    ]
    hops = whole.group.hops
    texts = (None, *whole.texts)
    assert hops.row.tolist() == [i for i, _ in told]
    assert hops.counts.tolist() == [sum(len(one.hops) for one in r) for r in reports]
    assert [texts[i] for i in whole.hop_routers.tolist()] == [hop.router for _, hop in told]
    assert hops.columns["ttl"].tolist() == [hop.ttl for _, hop in told]
    assert hops.columns["rtt_us"].tolist() == [
        0 if hop.rtt_us is None else hop.rtt_us + 1 for _, hop in told
    ]


TRACE = row(
    5,
    hops=(
        Hop(ttl=1, packet=0, router="192.0.2.9", rtt_us=5, icmp_type=11, icmp_code=0),
        Hop(ttl=2, packet=0),
    ),
)
BAD_HOPS: list[tuple[Callable[[Any], object], str]] = [
    (lambda b: b.hop_ttl.__setitem__(1, 0), "hop_ttl is 0; it counts from 1"),
    (lambda b: b.hop_ttl.__setitem__(1, 256), "hop_ttl is out of range"),
    (lambda b: b.hop_packet.__setitem__(0, 16), "hop_packet is out of range"),
    (lambda b: b.hop_router.__setitem__(0, 9), "hop_router is out of range"),
    (lambda b: b.hop_rtt_us.__setitem__(0, 600_000_002), "hop_rtt_us is out of range"),
    (lambda b: b.hop_icmp_type.__setitem__(0, 257), "hop_icmp_type is out of range"),
    (lambda b: b.hop_icmp_code.__setitem__(0, 257), "hop_icmp_code is out of range"),
    (lambda b: b.hop_ttl.__setitem__(1, 1), "hops tell of one packet twice"),
    (lambda b: b.check_no.__setitem__(0, 2), "a row of a check that is no trace has hops"),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD_HOPS)
def test_poisoned_hops_are_refused_and_harm_no_neighbour(
    spoil: Callable[[Any], object], reason: str
) -> None:
    """A hop that cannot be costs its own report alone, whose reason names it."""
    good = body_of([row(1), TRACE])
    assert reasons(good, spoiled(spoil, [TRACE]), good) == (None, reason, None)


def test_only_what_ran_has_hops() -> None:
    """A row that was not run has nothing to tell of a way."""
    bare = not_run(5)
    said = "a row that did not run has hops"
    assert reasons(body_of([replace(bare, hops=TRACE.hops)]), body_of([bare])) == (said, None)


NAMES = st.builds(BatchName, st.sampled_from(["p1", "p2"]), st.integers(1, 2), st.integers(1, 6))


@given(st.lists(NAMES, max_size=30), st.integers(0, 30))
def test_intake_is_idempotent(names: list[BatchName], cut: int) -> None:
    """Names sent again after any crash are duplicates, and grouping them differently changes nothing."""
    whole, marks = name_fates(names, {})
    first, kept = name_fates(names[:cut], {})
    second, more = name_fates(names[cut:], kept)
    assert first + second == whole
    assert {**kept, **more} == marks
    again, nothing = name_fates(names, marks)
    assert not any(again)
    assert nothing == {}


def test_allowed_checks_are_a_table_by_number() -> None:
    """Its last entry is never set, so that numbers beyond it have where to look."""
    assert np.flatnonzero(ALLOWED).tolist() == [1, 2, 5]
    assert len(ALLOWED) == 7
    assert not ALLOWED[-1]


def test_what_ran_because_of_a_failure_and_failed_is_told() -> None:
    """With its check and slot; what is scheduled, good or not run is not."""
    at_us = NOW_US - 7 * SECOND_US
    body = body_of([
        failed(5),
        replace(failed(2, at_us), trigger=Trigger.FAILURE),
        row(1, trigger=Trigger.FAILURE),
    ])  # fmt: skip
    assert check_body(body, rows=3) == ((2, at_us),)
    assert check_body(body_of([failed(5)]), rows=1) == ()
