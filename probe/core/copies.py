"""A changed copy of a frozen value, for the path that every check takes.

`dataclasses.replace` looks at each field by name and builds the copy field by field through
`__init__`: 7 us for the fifty of a row, which is completed in four steps. Here the values are copied
in one go and the changed ones written over them, which takes 2.6 us and does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")


def copier(kind: type[T]) -> Callable[..., T]:
    """What `replace` does, for values of a frozen dataclass with slots and without `__post_init__`."""
    names = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # a dataclass
    values_of = attrgetter(*names)
    # The slots themselves: a frozen dataclass is closed to setattr, and this is its constructor.
    slots = {name: getattr(kind, name).__set__ for name in names}
    writes = tuple(slots.values())

    def changed(value: T, /, **values: Any) -> T:
        copy = object.__new__(kind)
        for write, kept in zip(writes, values_of(value), strict=True):
            write(copy, kept)
        for name, other in values.items():
            slots[name](copy, other)
        return copy

    return changed
