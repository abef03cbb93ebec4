"""A changed copy of a frozen value, for the path that every check takes.

`dataclasses.replace` looks at each field by name and builds the copy field by field through
`__init__`, each through the `__setattr__` that keeps it frozen: three times what is done here for the
fifty of a row. The copy begins as an open twin with the same slots, is filled by a function that is
written out field by field, as `dataclass` writes its own, and is closed by taking its real class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def copier(kind: type[T]) -> Callable[..., T]:
    """What `replace` does, for values of a frozen dataclass with slots and without `__post_init__`."""
    names = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # a dataclass
    twin = type(f"_Open{kind.__name__}", (), {"__slots__": names})
    opened = _filler(twin, names)

    def changed(value: T, /, **values: Any) -> T:
        copy = opened(value)
        for name, other in values.items():
            setattr(copy, name, other)
        copy.__class__ = kind
        return copy  # type: ignore[no-any-return]  # it is one now

    return changed


def _filler(twin: type, names: tuple[str, ...]) -> Callable[[Any], Any]:
    """A function that gives a twin with all the values of its argument."""
    lines = ("def opened(value):", "copy = new(twin)", *(f"copy.{n} = value.{n}" for n in names))
    written: dict[str, Any] = {"new": object.__new__, "twin": twin}
    exec("\n    ".join((*lines, "return copy")), written)  # noqa: S102  # of names of our own alone
    return written["opened"]  # type: ignore[no-any-return]  # it was written just now
