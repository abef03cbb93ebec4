"""The SQL files, read once each. SQL lives nowhere else; values are bound, never formatted in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import duckdb

PARAMETER: Final = re.compile(r"\$([a-z_0-9]+)")


@cache
def question(name: str) -> str:
    """The text of `analysis/sql/<name>.sql`."""
    return (files("analysis.sql") / f"{name}.sql").read_text(encoding="utf-8")


def bound(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the question names, out of a larger set."""
    return {key: values[key] for key in set(PARAMETER.findall(question(name)))}


def ask(
    con: duckdb.DuckDBPyConnection, name: str, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """All rows of an answer."""
    return con.execute(question(name), bound(name, values)).fetchall()


def ask_arrays(
    con: duckdb.DuckDBPyConnection, name: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """An answer as numpy arrays by column."""
    return con.execute(question(name), bound(name, values)).fetchnumpy()
