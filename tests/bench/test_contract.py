"""The benches' common contract: floors, what falls short, and the line that is printed last."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.contract import Bench, Figure, over_rounds, percentile

MACHINE = {"cpu": "any", "cores": 2}
numbers = st.floats(min_value=-1e9, max_value=1e9)


def _bench(**figures: float) -> Bench:
    bench = Bench("any", machine=MACHINE)
    for name, value in figures.items():
        bench.add(name, over_rounds([value], "us"))
    return bench


@pytest.mark.parametrize(
    ("op", "floor", "held", "missed"),
    [(">=", 10, 10, 9.9), ("<=", 10, 10, 10.1), ("<", 10, 9.9, 10), ("==", 0, 0, 1)],
)
def test_a_figure_is_held_against_its_floor(
    op: str, floor: float, held: float, missed: float
) -> None:
    """A figure on the right side of its floor is not short, one on the wrong side is."""
    bench = _bench(good=held, bad=missed)
    bench.require("good", op, floor)
    bench.require("bad", op, floor)
    assert bench.short() == ["bad"]


def test_what_was_not_measured_falls_short() -> None:
    """A floor without its figure is missed, and the exit code says so."""
    bench = _bench(other=1)
    bench.require("promised", ">=", 1)
    assert bench.short() == ["promised"]
    assert bench.finish(out=io.StringIO()) == 1


def test_a_figure_without_a_floor_cannot_fall_short() -> None:
    """What nobody promised is shown and judged by the reader."""
    bench = _bench(shown=1)
    assert bench.finish(out=io.StringIO()) == 0


def test_an_operator_that_does_not_exist_is_refused() -> None:
    """A mistyped floor is an error at once instead of one that always holds."""
    with pytest.raises(ValueError, match="'=<' is none of >=, <=, <, =="):
        _bench().require("any", "=<", 1)


def test_the_last_line_is_the_contract() -> None:
    """One line of JSON with the bench, the machine, figures with peers, floors and what is short."""
    bench = Bench("probe", machine=MACHINE)
    peer = over_rounds([40.0, 60.0], "us")
    bench.add("error_p99", over_rounds([30.0, 20.0, 70.0], "us", peers={"fping": peer}))
    bench.require("error_p99", "<=", 25)
    out = io.StringIO()
    assert bench.finish(out=out) == 1
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue()) == {
        "bench": "probe",
        "machine": MACHINE,
        "figures": {
            "error_p99": {
                "value": 30.0,
                "unit": "us",
                "spread": [20.0, 70.0],
                "peers": {"fping": {"value": 50.0, "unit": "us", "spread": [40.0, 60.0]}},
            }
        },
        "floors": {"error_p99": {"op": "<=", "value": 25}},
        "short": ["error_p99"],
    }


def test_progress_never_mixes_with_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output carries the last line alone; all else goes to standard error."""
    bench = _bench(shown=1)
    bench.require("missing", ">=", 1)
    bench.finish()
    printed = capsys.readouterr()
    assert json.loads(printed.out)["short"] == ["missing"]
    assert "shown: 1 us" in printed.err
    assert "SHORT missing: not measured; the floor is >= 1" in printed.err


@given(st.lists(numbers, min_size=1))
def test_the_value_lies_within_the_spread(samples: list[float]) -> None:
    """The median of the rounds is never beyond their extremes."""
    figure = over_rounds(samples, "us")
    low, high = figure.spread
    assert low <= figure.value <= high


def test_a_figure_of_no_rounds_is_refused() -> None:
    """No data is never a number."""
    with pytest.raises(ValueError, match="one round"):
        over_rounds([], "us")
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(numbers, min_size=1), st.floats(min_value=0, max_value=1))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(
    values: list[float], share: float
) -> None:
    """The nearest rank is one of the values, and at least that share of them lies at or below it."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


def test_a_number_that_json_does_not_know_is_refused() -> None:
    """A figure that is no number ends the bench instead of printing what no reader can parse."""
    bench = Bench("any", machine=MACHINE)
    bench.figures["broken"] = Figure(value=float("nan"), unit="us", spread=(0, 0))
    with pytest.raises(ValueError, match="JSON"):
        bench.finish(out=io.StringIO())


def test_figures_of_another_bench_are_taken_over_whole() -> None:
    """What one bench printed, another holds against its own floors, peers included."""
    peer = over_rounds([40.0, 60.0], "us")
    inner = Bench("inner", machine=MACHINE)
    inner.add("error_p99", over_rounds([30.0, 20.0], "us", peers={"fping": peer}))
    outer = Bench("outer", machine=MACHINE)
    outer.require("error_p99", "<=", 30)
    outer.absorb(inner.as_json()["figures"])
    assert outer.short() == []
    assert outer.as_json()["figures"] == inner.as_json()["figures"]
