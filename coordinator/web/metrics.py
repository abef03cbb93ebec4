"""The text that Prometheus reads. Pure: figures in, text out (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One family; `samples` maps label sets (pairs) to values, `()` = no labels."""

    name: str
    meaning: str
    type: str  # counter or gauge
    samples: Mapping[tuple[tuple[str, str], ...], float]


def single(name: str, meaning: str, value: float, *, counter: bool = False) -> Metric:
    """A family with one sample."""
    kind = "counter" if counter else "gauge"
    return Metric(name=name, meaning=meaning, type=kind, samples={(): value})


def render(metrics: Iterable[Metric]) -> str:
    """Every family with its help and type, one sample a line."""
    return "".join(line + "\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> list[str]:
    head = [f"# HELP {metric.name} {metric.meaning}", f"# TYPE {metric.name} {metric.type}"]
    return head + [
        f"{metric.name}{_labels(labels)} {_number(value)}"
        for labels, value in metric.samples.items()
    ]


def _number(value: float) -> str:
    """Every digit that it has: rounded to six, a counter of millions would stand still."""
    return repr(float(value)) if value % 1 else f"{value:.0f}"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
