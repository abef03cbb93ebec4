"""A scenario: one incident (or none) on the lab's internet, as a TOML file.

    name = "overload"
    title = "A live event is announced, and the live component overloads"
    seed = 20240813
    quiet_s = 28        # measured before anything goes wrong: the history that "slow" rests on
    watch_s = 26        # measured from the first fault on, before judging
    followed_up = ["spaces"]    # components that are tried again and traced when they fail; else none

    [[fault]]
    kind = "crowd"      # a row of deploy.lab.incidents.KINDS
    for_s = 40
    per_s = 90          # everything else is the fault's own

    [truth]
    classes = ["overload", "application_component"]   # what a right verdict may say
    component = "spaces"
    claims = { D1 = "contradicted" }

Everything but the class words is computed: when a fault began and whom it hits comes from the fault.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.lab.services import LabError

SHIPPED: Final = Path(__file__).with_name("scenarios")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One fault on the timetable; `at_s` counts from the end of the quiet time."""

    kind: str
    at_s: float = 0.0
    for_s: float = 3600.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a right verdict may say, and the words of the claim sheet."""

    classes: tuple[str, ...]
    component: str = "spaces"
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        return self.classes == ("healthy",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One file."""

    name: str
    title: str
    seed: int
    truth: Expected
    quiet_s: float = 28.0
    watch_s: float = 26.0
    interval_s: float = 2.0  # of the live component; everything else is measured half as often
    bin_s: int = 2
    provisional_s: int = 4
    followed_up: tuple[str, ...] = ()  # components whose failures are confirmed and traced
    faults: tuple[Planned, ...] = ()


def load_scenario(name: str) -> Scenario:
    """Read a shipped scenario by name, or any file by path; `LabError` says what is wrong."""
    shipped = SHIPPED / f"{name}.toml"
    path = shipped if shipped.exists() else Path(name)
    if not path.is_file():
        raise LabError(f"no scenario {name!r}: name a file, or one of {', '.join(shipped_names())}")
    try:
        return _read(tomllib.loads(path.read_text(encoding="utf-8")))
    except KeyError as error:
        raise LabError(
            f"{path}: {error.args[0]} is missing, so this is no scenario; it needs name, title, seed and "
            "[truth] with classes, as `overload` has them"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise LabError(f"{path}: {error}; see deploy/lab/scenario.py for what it holds") from error


def shipped_names() -> tuple[str, ...]:
    """Names of the scenarios that come with the lab."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def _read(tables: dict[str, Any]) -> Scenario:
    faults = tuple(_planned(table) for table in tables.pop("fault", ()))
    truth = tables.pop("truth")
    truth["classes"] = tuple(truth["classes"])
    followed_up = tuple(tables.pop("followed_up", ()))
    return Scenario(faults=faults, truth=Expected(**truth), followed_up=followed_up, **tables)


def _planned(table: dict[str, Any]) -> Planned:
    own = {key: table.pop(key) for key in ("kind", "at_s", "for_s") if key in table}
    return Planned(**own, options=table)
