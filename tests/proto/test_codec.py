"""The bridge between values and bytes: what goes in comes out, and lies are named."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proto.codec import (
    ROWS_MAX,
    body_from_wire,
    fingerprint,
    plan_from_wire,
    plan_to_wire,
    report_from_wire,
    report_to_wire,
)
from proto.columns import COLUMNS, HOP_COLUMNS, Encoding, unzigzag, zigzag
from proto.gen import plan_pb2, report_pb2
from proto.model import Check, Kind, Plan, Report, Result, State, WireError
from tests.fakes.rows import plans, reports

ROW = Result(check_no=7, slot_at_us=1_000_000, started_at_us=1_000_400, state=State.MEASURED)


@given(reports())
def test_report_round_trip(report: Report) -> None:
    """A report read from its own bytes is the report that was written."""
    assert report_from_wire(report_to_wire(report)) == report


@settings(suppress_health_check=[HealthCheck.too_slow])  # a machine that does much else
@given(plans)
def test_plan_round_trip(plan: Plan) -> None:
    """A plan read from its own bytes is the plan that was written."""
    assert plan_from_wire(plan_to_wire(plan)) == plan


@settings(suppress_health_check=[HealthCheck.too_slow])  # a machine that does much else
@given(plans)
def test_equal_plans_give_equal_bytes(plan: Plan) -> None:
    """Two spellings of one plan carry the same signature."""
    assert plan_to_wire(plan) == plan_to_wire(replace(plan))


@given(st.integers(-(2**62), 2**62))
def test_zigzag_round_trip(value: int) -> None:
    """Zigzag loses no integer and never gives a negative one."""
    assert zigzag(value) >= 0
    assert unzigzag(zigzag(value)) == value


@given(reports(), reports())
def test_merged_bodies_concatenate(first: Report, second: Report) -> None:
    """The concatenation of two bodies parses as one body with the columns one after the other."""
    one, two = report_to_wire(first), report_to_wire(second)
    merged = report_pb2.ReportBody.FromString(one + two)
    assert list(merged.rows) == [len(first.results), len(second.results)]
    assert len(merged.check_no) == len(first.results) + len(second.results)
    assert list(merged.text[: merged.texts[0]]) == list(report_pb2.ReportBody.FromString(one).text)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash(data: bytes) -> None:
    """Bytes of a stranger give a report or a WireError, and nothing else."""
    with suppress(WireError):
        assert report_from_wire(data).results


def _body(**changes: list[int]) -> bytes:
    body = report_pb2.ReportBody.FromString(report_to_wire(Report((ROW,))))
    for name, values in changes.items():
        del getattr(body, name)[:]
        getattr(body, name).extend(values)
    return body.SerializeToString()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": []}, "one body, with one head"),
        ({"rows": [2]}, "column slot_delta_us has another length"),
        ({"rows": [0]}, "rows is 0"),
        ({"rows": [ROWS_MAX + 1]}, "rows is 20001"),
        ({"texts": [3]}, "texts disagrees"),
        ({"certificates": [1]}, "certificates disagrees"),
        ({"slot_delta_us": [1]}, "slot_delta_us begins with 1, not 0"),
        ({"state": [0, 0]}, "column state has another length"),
        ({"state": [2]}, "column state has no word 2"),
        ({"failure": [200]}, "column failure has no word 199"),
        ({"address": [1]}, "column address points past the dictionary"),
    ],
)
def test_a_body_that_contradicts_itself_is_named(
    changes: dict[str, list[int]], reason: str
) -> None:
    """A body whose columns disagree is refused with the column at fault."""
    with pytest.raises(WireError, match=reason):
        report_from_wire(_body(**changes))


def test_an_empty_report_is_refused() -> None:
    """A report without rows is a mistake of the sender."""
    with pytest.raises(WireError, match="0 rows"):
        report_to_wire(Report(()))


def test_bytes_that_do_not_parse_are_named() -> None:
    """Bytes that are no message are refused by the message's name."""
    with pytest.raises(WireError, match="ReportBody: bytes do not parse"):
        body_from_wire(b"\xff\xff")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": 0}, "unknown kind"),
        ({"kind": 9}, "unknown kind"),
        ({"family": 5}, "family is 5"),
        ({"control": 6}, "unknown control"),
        ({"control": -100}, "unknown control"),
        ({"timeout_ms": 0}, "timeout is 0"),
    ],
)
def test_a_check_out_of_range_is_named(changes: dict[str, int], reason: str) -> None:
    """A plan with an impossible check is refused with the check and the field."""
    good = plan_pb2.Plan.FromString(
        plan_to_wire(
            Plan(version=1, checks=(Check(check_no=3, check_id="c", kind=Kind.TCP, host="h"),))
        )
    )
    for name, value in changes.items():
        setattr(good.checks[0], name, value)
    with pytest.raises(WireError, match=f"check 3: {reason}"):
        plan_from_wire(good.SerializeToString())


def test_every_wire_column_is_in_the_table() -> None:
    """The table of columns names every row column of the message, and nothing else."""
    own_rule = {"rows", "texts", "base_at_us", "certificates", "text", "certificate_der"}
    own_rule |= {"slot_delta_us", "check_no", "started_us", "hops", "hop_row"}
    fields = {field.name for field in report_pb2.ReportBody.DESCRIPTOR.fields}
    assert fields - own_rule == {column.name for column in COLUMNS} | {
        f"hop_{column.name}" for column in HOP_COLUMNS
    }


def test_text_columns_share_one_dictionary() -> None:
    """A text that occurs twice is sent once."""
    row = replace(ROW, address="192.0.2.1", router="192.0.2.1")
    body = body_from_wire(report_to_wire(Report((row, row))))
    assert list(body.text) == ["192.0.2.1"]
    assert {c.name for c in COLUMNS if c.encoding is Encoding.TEXT} >= {"address", "router"}


def test_fingerprint_is_sha256_in_hex() -> None:
    """The fingerprint is the one that openssl prints, in lower case without colons."""
    assert fingerprint(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
