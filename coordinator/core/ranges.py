"""Rows of a table of address ranges, as its file gives them, to spans and places.

The columns are found by their names: those of the tables that are given away (iptoasn, IPinfo Lite,
GeoLite2, DB-IP) and our own. Everything that is wrong is gathered with the line it stands in, up to
a number that a person reads.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from coordinator.core.networks import Place, Span
from coordinator.core.reading import show

FINDINGS_MAX: Final = 10
"""Findings that one file is told of: a file with more has one mistake in every line."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "network": ("network", "prefix", "cidr"),
    "start": ("start", "range_start", "start_ip", "ip_range_start"),
    "end": ("end", "range_end", "end_ip", "ip_range_end"),
    "asn": ("asn", "as_number", "autonomous_system_number"),
    "country": ("country_code", "country", "country_iso_code"),
    "holder": ("name", "as_name", "as_description", "as_organization", "autonomous_system_organization"),
}  # fmt: skip
"""By what they are: the names under which a column is taken, the first that a file has."""

_NOT_KNOWN: Final = frozenset({"", "-", "none", "null", "zz", "not routed"})
_ASN_MAX: Final = 4_294_967_295

Row = Sequence[str | None]
Pack = Callable[[str], bytes]
"""Packs the text of an address. Raises ValueError or OSError for what is none."""


class UnfitFileError(Exception):
    """A table's file cannot be used; `findings` say the line, the field, its value and the fix."""

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = tuple(findings)


class UnfitRowError(Exception):
    """What is wrong in a row: a field, its value and the fix."""


@dataclass(slots=True)
class Reading:
    """Takes rows in, chunk by chunk. `columns` says where each kind stands, of `width` in all."""

    columns: Mapping[str, int]
    width: int
    pack: Pack
    spans: list[Span] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    _line: int = 1
    _numbers: dict[tuple[str | None, str | None, str | None], int] = field(default_factory=dict)
    _places: list[Place] = field(default_factory=list)

    @property
    def places(self) -> Sequence[Place]:
        """The places that the spans name by number."""
        return self._places

    def take(self, rows: Iterable[Row]) -> None:
        """The next rows of the file. Raises UnfitFileError when too many are wrong."""
        for row in rows:
            self._line += 1
            try:
                start, end = self._span(row)
                self.spans.append((start, end, self._number(row)))
            except UnfitRowError as error:
                self.findings.append(f"line {self._line}: {error}")
                if len(self.findings) == FINDINGS_MAX:
                    raise UnfitFileError([*self.findings, "and perhaps more"]) from error

    def settle(self) -> None:
        """The file ended. Raises UnfitFileError when anything was wrong, or nothing was there."""
        if not self.spans and not self.findings:
            self.findings.append("no range is in it; give a table with at least one row")
        if self.findings:
            raise UnfitFileError(self.findings)

    def _value(self, row: Row, kind: str) -> str | None:
        at = self.columns.get(kind)
        return None if at is None else row[at]

    def _span(self, row: Row) -> tuple[bytes, bytes]:
        if len(row) != self.width:
            fix = f"the first line names {self.width}, give each a place"
            raise UnfitRowError(f"it has {len(row)} fields; {fix}")
        if "network" in self.columns:
            return _of_network(self._value(row, "network") or "", self.pack)
        start = self._address(row, "start")
        end = self._address(row, "end")
        if len(start) != len(end) or start > end:
            value = show(f"{self._value(row, 'start')}, {self._value(row, 'end')}")
            raise UnfitRowError(f"start, end is {value}; give two addresses of one family in order")
        return start, end

    def _address(self, row: Row, kind: str) -> bytes:
        text = self._value(row, kind) or ""
        try:
            return self.pack(text)
        except (ValueError, OSError) as error:
            raise UnfitRowError(f"{kind} is {show(text)}; give an IPv4 or IPv6 address") from error

    def _number(self, row: Row) -> int:
        said = (self._value(row, "asn"), self._value(row, "country"), self._value(row, "holder"))
        number = self._numbers.get(said)
        if number is None:
            self._places.append(
                Place(read_asn(said[0]), read_country(said[1]), read_holder(said[2]))
            )
            number = self._numbers[said] = len(self._places) - 1
        return number


def find_columns(names: Sequence[str]) -> Mapping[str, int]:
    """Where each kind of column stands. Raises UnfitFileError when the file is no table of ranges."""
    at = {name.strip().lower(): i for i, name in reversed(list(enumerate(names)))}
    found: dict[str, int] = {}
    for kind, known in COLUMNS.items():
        present = [at[name] for name in known if name in at]
        found |= {kind: present[0]} if present else {}
    has_span = "network" in found or {"start", "end"} <= found.keys()
    if not has_span or not {"asn", "country"} & found.keys():
        fix = "name them start,end or network, then asn, country, name as far as there are such"
        raise UnfitFileError([f"line 1: the columns are {show(', '.join(names))}; {fix}"])
    return found


def _of_network(text: str, pack: Pack) -> tuple[bytes, bytes]:
    address, slash, length = text.partition("/")
    try:
        start = pack(address)
        bits = int(length) if slash else 8 * len(start)
        span = (1 << 8 * len(start) - bits) - 1
        if int.from_bytes(start) & span:
            fix = str(ipaddress.ip_network(text, strict=False))
            raise UnfitRowError(
                f"network is {show(text)}; it has bits beyond its length, write {fix}"
            )
    except (ValueError, OSError) as error:
        raise UnfitRowError(f"network is {show(text)}; give one like 192.0.2.0/24") from error
    return start, (int.from_bytes(start) | span).to_bytes(len(start))


def read_holder(text: str | None) -> str | None:
    """Any text, but for the words that tables write for nothing."""
    return None if text is None or text.strip().lower() in _NOT_KNOWN else text.strip()


def read_asn(text: str | None) -> int | None:
    """A number, or None for 0: it stands for space that nobody announces. Raises UnfitRowError."""
    known = read_holder(text)
    if known is None:
        return None
    match = re.fullmatch(r"(?:AS)?(\d{1,10})", known, re.IGNORECASE)
    if match is None or int(match[1]) > _ASN_MAX:
        raise UnfitRowError(f"asn is {show(text)}; give a number like 64512 or AS64512")
    return int(match[1]) or None


def read_country(text: str | None) -> str | None:
    """Two capital letters. Raises UnfitRowError."""
    known = read_holder(text)
    if known is None:
        return None
    if re.fullmatch(r"[A-Za-z]{2}", known) is None:
        raise UnfitRowError(f"country is {show(text)}; give two letters like DE, or nothing")
    return known.upper()
