"""The batch contract: which columns foreign rows have, what is allowed in each, and how to fix it.

The names and meanings are public and stable: others are scored through them. Every column is checked
as text first, so that one message can name the line, the value and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analysis.core.outcomes import OUTCOMES
from proto.model import Failure, Operation, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `low` and `high` bound numbers; `words` close a vocabulary."""

    name: str
    sort: str  # "text", "stamp", "whole", "real", "word"
    required: bool = False
    low: int | None = None
    high: int | None = None
    words: tuple[str, ...] = ()

    @property
    def fix(self) -> str:
        """What to write instead."""
        optional = "" if self.required else ", or leave it empty"
        if self.sort == "stamp":
            return f"write a UTC time such as 2026-03-01T12:00:00Z{optional}"
        if self.sort == "word":
            return f"write one of {', '.join(self.words)}{optional}"
        if self.sort == "text":
            return f"write a name{optional}"
        number = "a whole number" if self.sort == "whole" else "a number"
        return f"write {number} {self._range()}{optional}"

    def _range(self) -> str:
        return f"of at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"


_ASN: Final = 4_294_967_295  # 32 bits (RFC 6793)
_COUNT: Final = 4_294_967_295  # what the store's column holds


def _words(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(word) for word in words)


COLUMNS: Final[tuple[Column, ...]] = (
    Column(name="scenario", sort="text"),
    Column(name="slot_at", sort="stamp", required=True),
    Column(name="bin_s", sort="whole", low=0, high=86_400),
    Column(name="vantage", sort="text", required=True),
    Column(name="vantage_asn", sort="whole", low=0, high=_ASN),
    Column(name="vantage_country", sort="text"),
    Column(name="service", sort="text", required=True),
    Column(name="component", sort="text", required=True),
    Column(name="role", sort="word", words=_words(list(Role))),
    Column(name="kind", sort="word", required=True, words=_words(list(OUTCOMES))),
    Column(name="family", sort="word", words=("4", "6")),
    Column(name="address", sort="text"),
    Column(name="target_asn", sort="whole", low=0, high=_ASN),
    Column(name="target_prefix", sort="text"),
    Column(name="sent", sort="whole", required=True, low=0, high=_COUNT),
    Column(name="lost", sort="whole", required=True, low=0, high=_COUNT),
    Column(name="operation", sort="word", words=_words(list(Operation))),
    Column(name="failure", sort="word", words=_words(list(Failure))),
    Column(name="http_status", sort="whole", low=100, high=999),
    Column(name="rtt_ms", sort="real", low=0),
    Column(name="received_at", sort="stamp"),
)

BY_NAME: Final = {column.name: column for column in COLUMNS}
REQUIRED: Final = tuple(column.name for column in COLUMNS if column.required)
