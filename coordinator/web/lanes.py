"""Lanes over time: one strip per component and kind of check, as rectangles of an SVG.

A step in which every attempt was answered is a plain block; a loss rises from the foot of its step
in proportion, so that it is read by height as well as by colour. A step that nobody reported on
stays empty: absence is neither good nor bad. Neighbouring good steps are one rectangle.

Pure: records of `coordinator.store.serving.lanes` in, shapes out. Widths are in steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

HEIGHT: Final = 20.0
LEAST_LOSS: Final = 3.0  # a single lost attempt of thousands is still seen

KIND_ORDER: Final = ("dns", "icmp", "tcp", "tls", "http")  # the layers from the name to the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One rectangle: place and size in steps and in `HEIGHT` units, what it means, what to say."""

    x: int
    width: int
    y: float
    height: float
    meaning: str  # good or lost
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One kind of check of one component."""

    kind: str
    marks: tuple[Mark, ...]
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A component with its lanes; `role` None = rows did not say."""

    service: str
    component: str
    role: str | None
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The span of time that lanes show, in microseconds UTC."""

    from_us: int
    to_us: int
    step_us: int

    @property
    def steps(self) -> int:
        return (self.to_us - self.from_us) // self.step_us

    def clock(self, step: int) -> str:
        """Start of a step as people read it."""
        return clock_text(self.from_us + step * self.step_us)


def clock_text(at_us: int) -> str:
    """HH:MM:SS in UTC."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%H:%M:%S")


def strips(records: Iterable[Mapping[str, Any]], axis: Axis) -> tuple[Strip, ...]:
    """Every component that was measured, in the order of the records."""
    found = []
    for (service, component), group in groupby(records, lambda r: (r["service"], r["component"])):
        rows = list(group)
        kinds = sorted({row["kind"] for row in rows}, key=KIND_ORDER.index)
        lanes = tuple(_lane([r for r in rows if r["kind"] == kind], kind, axis) for kind in kinds)
        role = next((row["role"] for row in rows if row["role"] is not None), None)
        found.append(Strip(service=service, component=component, role=role, lanes=lanes))
    return tuple(found)


def _lane(rows: list[Mapping[str, Any]], kind: str, axis: Axis) -> Lane:
    steps = {(row["at_us"] - axis.from_us) // axis.step_us: row for row in rows}
    marks = [mark for run in _runs(steps) for mark in _marks(run, steps, axis)]
    sent, lost = (sum(row[name] for row in rows) for name in ("sent", "lost"))
    return Lane(kind=kind, marks=tuple(marks), summary=f"{lost} of {sent} attempts lost")


def _runs(steps: Mapping[int, Mapping[str, Any]]) -> list[list[int]]:
    """Neighbouring good steps together; every step with a loss alone."""
    runs: list[list[int]] = []
    for step in sorted(steps):
        joins = (
            runs
            and runs[-1][-1] == step - 1
            and steps[step]["lost"] == 0
            and steps[runs[-1][-1]]["lost"] == 0
        )
        if joins:
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs


def _marks(run: list[int], steps: Mapping[int, Mapping[str, Any]], axis: Axis) -> tuple[Mark, ...]:
    row = steps[run[0]]
    sent, lost = (sum(steps[step][name] for step in run) for name in ("sent", "lost"))
    vantages = max(steps[step]["vantages"] for step in run)
    times = (
        axis.clock(run[0]) if len(run) == 1 else f"{axis.clock(run[0])} to {axis.clock(run[-1])}"
    )
    title = f"{times} UTC: {lost} of {sent} attempts lost, {vantages} vantage points"
    good = Mark(x=run[0], width=len(run), y=0.0, height=HEIGHT, meaning="good", title=title)
    if lost == 0:
        return (good,)
    height = round(max(LEAST_LOSS, HEIGHT * row["lost"] / row["sent"]), 2)
    lost_mark = Mark(
        x=run[0], width=1, y=round(HEIGHT - height, 2), height=height, meaning="lost", title=title
    )
    return (good, lost_mark)
