"""What every bench says in the end: figures with their spread, floors, and what fell short.

A bench takes each figure over several rounds, gives the median as the value and the extremes as the
spread, and holds it against a floor where the project promised one. A floor whose figure is missing
fell short: what could not be measured was not shown to hold.

The last line of standard output is one JSON object, the exit code is 1 when anything fell short,
and whatever a person wants to read meanwhile goes to standard error:

    bench = Bench("probe", machine=machine.describe())
    bench.require("icmp_error_p99", "<=", 50)
    bench.add("icmp_error_p99", over_rounds([21.0, 30.0, 24.0], "us"))
    return bench.finish()
"""

from __future__ import annotations

import json
import math
import operator
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TextIO

OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}
_DIGITS: Final = 4  # significant ones: more would pretend that a second run gives the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with its unit, the extremes over the rounds, and what peers had in the same run."""

    value: float
    unit: str
    spread: tuple[float, float]
    peers: Mapping[str, Figure] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The figure as the contract prints it; `peers` only where there are some."""
        printed: dict[str, Any] = {
            "value": _short(self.value),
            "unit": self.unit,
            "spread": [_short(bound) for bound in self.spread],
        }
        if self.peers:
            printed["peers"] = {name: peer.as_json() for name, peer in self.peers.items()}
        return printed

    @classmethod
    def from_json(cls, printed: Mapping[str, Any]) -> Self:
        """What another process printed."""
        low, high = printed["spread"]
        peers = {name: cls.from_json(peer) for name, peer in printed.get("peers", {}).items()}
        return cls(value=printed["value"], unit=printed["unit"], spread=(low, high), peers=peers)


@dataclass(frozen=True, slots=True)
class Floor:
    """What a figure must hold."""

    op: str
    value: float

    def holds(self, figure: Figure | None) -> bool:
        """Whether the figure exists and is on the right side."""
        return figure is not None and OPERATORS[self.op](figure.value, self.value)


def over_rounds(
    samples: Sequence[float], unit: str, *, peers: Mapping[str, Figure] | None = None
) -> Figure:
    """The median of one number per round, with the extremes.

    Raises ValueError when there is no round.
    """
    if not samples:
        raise ValueError("a figure needs one round at least")
    return Figure(
        value=statistics.median(samples),
        unit=unit,
        spread=(min(samples), max(samples)),
        peers=dict(peers or {}),
    )


class Bench:
    """Figures and floors of one run, gathered in the order in which they are to be read."""

    def __init__(self, name: str, *, machine: Mapping[str, Any]) -> None:
        self.name = name
        self.machine = dict(machine)
        self.figures: dict[str, Figure] = {}
        self.floors: dict[str, Floor] = {}

    def add(self, name: str, figure: Figure) -> None:
        """Take a figure and show it."""
        self.figures[name] = figure
        say(f"{name}: {_spelled(figure)}")

    def absorb(self, printed: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over the figures that another bench printed (and has shown)."""
        self.figures |= {name: Figure.from_json(figure) for name, figure in printed.items()}

    def require(self, name: str, op: str, value: float) -> None:
        """Promise a figure, whether or not it will be measured. `op` is one of OPERATORS."""
        if op not in OPERATORS:
            raise ValueError(f"{op!r} is none of {', '.join(OPERATORS)}")
        self.floors[name] = Floor(op, value)

    def short(self) -> list[str]:
        """Figures that miss their floor, and floors whose figure is missing."""
        return [
            name for name, floor in self.floors.items() if not floor.holds(self.figures.get(name))
        ]

    def as_json(self) -> dict[str, Any]:
        """The contract's object."""
        return {
            "bench": self.name,
            "machine": self.machine,
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
            "floors": {
                name: {"op": floor.op, "value": floor.value} for name, floor in self.floors.items()
            },
            "short": self.short(),
        }

    def finish(self, *, out: TextIO | None = None) -> int:
        """Print the object as one line and return the exit code."""
        for name in self.short():
            floor, figure = self.floors[name], self.figures.get(name)
            found = "not measured" if figure is None else _spelled(figure)
            say(f"SHORT {name}: {found}; the floor is {floor.op} {floor.value:g}")
        print(json.dumps(self.as_json(), allow_nan=False), file=out or sys.stdout, flush=True)
        return 1 if self.short() else 0


def say(text: str) -> None:
    """Tell how far the bench is."""
    print(text, file=sys.stderr, flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that at least `share` (0 to 1) of them do not exceed.

    Raises ValueError on no values.
    """
    if not values:
        raise ValueError("no values, no percentile")
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def _spelled(figure: Figure) -> str:
    low, high = figure.spread
    peers = "".join(f", {name} {peer.value:.4g}" for name, peer in figure.peers.items())
    return f"{figure.value:.4g} {figure.unit} ({low:.4g} to {high:.4g}{peers})"


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
