from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.rows import changed
from proto.model import Failure, Result, State, Validity

ROW = Result(check_no=1, slot_at_us=2, started_at_us=3, state=State.MEASURED, answers="192.0.2.1")
VALUES = {
    "sent": st.integers(0, 9),
    "failure": st.sampled_from([None, *Failure]),
    "validity": st.sampled_from(Validity),
    "total_us": st.none() | st.integers(0, 9),
    "answers": st.none() | st.text(),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_a_changed_row_is_what_replace_would_make(values: dict[str, Any]) -> None:
    """The quick way and the standard library's agree in every field, and the row itself stays."""
    before = replace(ROW)
    assert changed(ROW, **values) == replace(ROW, **values)
    assert before == ROW


def test_a_changed_row_is_frozen_and_whole() -> None:
    """It is a row like any other."""
    row = changed(ROW, sent=4)
    assert {field.name for field in fields(row)} == {field.name for field in fields(ROW)}
    with pytest.raises(FrozenInstanceError):
        row.sent = 5  # type: ignore[misc]


def test_a_field_that_rows_do_not_have_is_refused() -> None:
    """A misspelt name is a bug of ours and says so."""
    with pytest.raises(AttributeError, match="sentt"):
        changed(ROW, sentt=4)  # type: ignore[call-arg]
