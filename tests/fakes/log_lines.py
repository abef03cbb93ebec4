"""What the coordinator's sources say to the log, and what docs/log.md says that they do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LEVELS: Final = {"info": "info", "warning": "warning", "error": "error", "exception": "error"}
LEVELS |= {"critical": "critical"}
MORE: Final = "…"
"""Stands for fields that differ from line to line."""


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One kind of line: its name, its level, and the names of its fields."""

    name: str
    level: str
    fields: frozenset[str]


def events_of_sources() -> set[Event]:
    """Every call of a logger in the coordinator's sources."""
    found = set()
    for path in sorted((ROOT / "coordinator").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        bound = {f for call in calls if _method(call) == "bind" for f in _fields(call)}
        for call in calls:
            if _method(call) in LEVELS and _is_logger(call):
                level, fields = LEVELS[_method(call)], frozenset(_fields(call) | bound)
                found |= {Event(name, level, fields) for name in _names(call.args[0])}
    return found


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _is_logger(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    return re.search(r"(?i)\blog\b|_log\b|get_logger", ast.unparse(call.func.value)) is not None


def _names(first: ast.expr) -> Iterator[str]:
    if isinstance(first, ast.IfExp):
        yield from (*_names(first.body), *_names(first.orelse))
    else:
        assert isinstance(first, ast.Constant), ast.unparse(first)
        yield str(first.value)


def _fields(call: ast.Call) -> set[str]:
    """`exc_info` becomes a traceback, whatever it is called."""
    named = {MORE if word.arg is None else word.arg for word in call.keywords}
    return named - {"exc_info"}


def events_of_page() -> set[Event]:
    """The table of docs/log.md."""
    page = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| [^|]+ \|$", page, re.MULTILINE)
    return {Event(name, level, frozenset(_said(fields))) for name, level, fields in rows}


def _said(text: str) -> set[str]:
    return {word or MORE for word, _ in re.findall(r"`(\w+)`|(…)", text)}
