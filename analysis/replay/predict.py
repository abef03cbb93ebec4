"""The scoring contract: rows and windows in, one line of prediction per window out.

Others score the judge through this, so its columns are stable. History of a window is every row of
its scenario before it. A window about something that nobody measured gets a line like any other: that
it is insufficient, and why.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from analysis.core.taxonomy import LEAVES
from analysis.core.verdict import Verdict, stamp
from analysis.replay.errors import BadFileError

WINDOW_COLUMNS: Final = ("scenario", "service", "component", "from", "to")
PREDICTION_COLUMNS: Final = (
    "scenario", "service", "component", "class", "target_class", "source_class", "probability",
    "certified_f", "onset", "end", "scope", "reasons", *(f"p_{leaf.value}" for leaf in LEAVES),
)  # fmt: skip
ALL_HISTORY: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedWindow:
    """One line of the windows file."""

    scenario: str | None
    service: str
    component: str | None
    since: datetime
    until: datetime


def read_windows(path: Path) -> tuple[AskedWindow, ...]:
    """The windows to judge.

    Raises:
        BadFileError: with every finding.
    """
    if not path.is_file():
        raise BadFileError((f"{path}: there is no such file",))
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in WINDOW_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise BadFileError(
                tuple(f"{path}: column {name!r} is missing; add it" for name in missing)
            )
        lines = list(enumerate(reader, start=2))
    findings: list[str] = []
    windows = [_window(path, number, row, findings) for number, row in lines]
    if findings:
        raise BadFileError(tuple(findings))
    return tuple(one for one in windows if one is not None)


def _window(
    path: Path, number: int, row: dict[str, str], findings: list[str]
) -> AskedWindow | None:
    where = f"{path}: line {number}"
    since = _time(where, "from", row["from"], findings)
    until = _time(where, "to", row["to"], findings)
    if not row["service"]:
        findings.append(f"{where}: service is empty; name the judged service")
    if since is None or until is None:
        return None
    if until <= since:
        findings.append(f"{where}: to is {row['to']!r}; it must be after from")
    return AskedWindow(
        scenario=row["scenario"] or None,
        service=row["service"],
        component=row["component"] or None,
        since=since,
        until=until,
    )


def _time(where: str, field: str, text: str | None, findings: list[str]) -> datetime | None:
    try:
        return stamp(text or "")
    except ValueError:
        findings.append(f"{where}: {field} is {text!r}; write a UTC time: 2026-03-01T12:00:00Z")
        return None


def write_predictions(path: Path, judged: Sequence[tuple[AskedWindow, Verdict]]) -> None:
    """Write all lines, or leave the file as it was."""
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(PREDICTION_COLUMNS)
        writer.writerows(_lines(judged))
    draft.replace(path)


def _lines(judged: Sequence[tuple[AskedWindow, Verdict]]) -> Iterator[list[Any]]:
    for asked, verdict in judged:
        body = verdict.to_json()
        body |= {
            "scenario": asked.scenario,
            "service": asked.service,
            "component": asked.component,
            "scope": verdict.scope.to_text(),
            "reasons": ";".join(verdict.reasons),
        }
        yield ["" if body[name] is None else body[name] for name in PREDICTION_COLUMNS]
