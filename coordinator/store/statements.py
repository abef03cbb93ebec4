"""The SQL of the write side, read once from the files beside it; parameters are bound, never formatted."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return files("coordinator.store.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
