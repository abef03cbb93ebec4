"""Read tables that a person wrote: every key known, every finding gathered, none raised.

A finding reads `FILE: KEY is VALUE; FIX`. Reading goes on after a finding with the key's default,
so that a person sees everything that is wrong at once and not one thing per attempt.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.core.redacting import redact

VALUE_WIDTH_MAX: Final = 80
"""Characters of a value in a finding: enough to recognise it."""


class UnfitError(Exception):
    """A value does not fit; the text is the fix."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for a key that has no default and was not given."""


MISSING: Final = Missing()

Accept = Callable[[object], Any]
"""Takes a value as TOML gives it; returns it as the program wants it or raises UnfitError."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table: its name, what it accepts, and what holds when it is not given."""

    name: str
    accept: Accept
    default: Any = MISSING


@dataclass(slots=True)
class Findings:
    """What is wrong in one file."""

    file: str
    texts: list[str] = field(default_factory=list)

    def add(self, key: str, value: object, fix: str) -> None:
        """Note that `key` has a value that it must not have."""
        shown = "missing" if isinstance(value, Missing) else show(value)
        self.texts.append(f"{self.file}: {key} is {shown}; {fix}")

    def unknown(self, key: str, name: str, known: Iterable[str]) -> None:
        """Note a key that does not exist, with the one that was probably meant."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        fix = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
        self.texts.append(f"{self.file}: {key} is not a key; {fix}")


def show(value: object) -> str:
    """A value the way the file would write it, cut to a line, without credentials."""
    text = redact(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= VALUE_WIDTH_MAX else text[: VALUE_WIDTH_MAX - 1] + "…"


def read_table(raw: object, where: str, keys: Iterable[Key], findings: Findings) -> dict[str, Any]:
    """The values of one table by key, defaults filled in. `where` is its path in the file."""
    table = read_mapping(raw, where, findings)
    by_name = {key.name: key for key in keys}
    for name in table:
        if name not in by_name:
            findings.unknown(_join(where, name), name, by_name)
    return {key.name: _read(table, where, key, findings) for key in by_name.values()}


def read_mapping(raw: object, where: str, findings: Findings) -> Mapping[str, object]:
    """`raw` where it is a table, else a finding and an empty table."""
    if isinstance(raw, dict):
        return raw
    findings.add(where, raw, "it must be a table")
    return {}


def read_list(raw: object, where: str, findings: Findings) -> list[object]:
    """`raw` where it is a list of tables, else a finding and an empty list."""
    if isinstance(raw, list):
        return raw
    findings.add(where, raw, f"it must be a list of tables, each begun with [[{where}]]")
    return []


def _read(table: Mapping[str, object], where: str, key: Key, findings: Findings) -> Any:
    value = table.get(key.name, MISSING)
    if isinstance(value, Missing):
        if isinstance(key.default, Missing):
            findings.add(_join(where, key.name), MISSING, "give it a value")
            return None
        return key.default
    try:
        return key.accept(value)
    except UnfitError as error:
        findings.add(_join(where, key.name), value, str(error))
        return None if isinstance(key.default, Missing) else key.default


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
