"""What a record of an MMDB file says of a place, by the names that its makers use.

GeoLite2, DB-IP, IPinfo and IPLocate lay their records out differently; one table of paths reads them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from coordinator.core.networks import Place
from coordinator.core.ranges import read_asn, read_country, read_holder

PATHS: Final[Mapping[str, Sequence[Sequence[str]]]] = {
    "asn": (("autonomous_system_number",), ("asn",), ("as_number",), ("asn", "asn")),
    "country": (
        ("country", "iso_code"),
        ("country_code",),
        ("country",),
        ("registered_country", "iso_code"),
    ),
    "holder": (("autonomous_system_organization",), ("as_name",), ("org",), ("asn", "name")),
}
"""Where each fact may stand in a record, the likeliest first."""


def place_of(record: object) -> Place | None:
    """What a record says; None = nothing that is known here.

    Raises UnfitRowError with the field, its value and the fix.
    """
    place = Place(
        asn=read_asn(_text(record, "asn")),
        country=read_country(_text(record, "country")),
        holder=read_holder(_text(record, "holder")),
    )
    return None if place == Place() else place


def _text(record: object, fact: str) -> str | None:
    """The first path that ends at a text or a number."""
    for path in PATHS[fact]:
        value: Any = record
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str | int):
            return str(value)
    return None
