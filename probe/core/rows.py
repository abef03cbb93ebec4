"""A changed copy of a row, with the names and types of fields checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.core.copies import copier
from proto.model import Result

__all__ = ["changed"]

if TYPE_CHECKING:
    from dataclasses import replace as changed
else:
    changed = copier(Result)
