"""Under which address a coordinator sees this probe, beside the one that it sends from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from probe.core.address import parse_address


@dataclass(frozen=True, slots=True)
class Sighting:
    """Both ends' view of one connection: `own` as the kernel says here, `seen` as told from there."""

    own: str
    seen: str

    @property
    def translated(self) -> bool:
        """Somebody on the way writes another address: NAT, a tunnel's end, a proxy."""
        return self.own != self.seen


def sighting_of(own: str | None, seen: str) -> Sighting | None:
    """From what both ends say; None where one says nothing, or no address."""
    here = None if own is None else parse_address(own.partition("%")[0])
    there = parse_address(seen)
    if here is None or there is None:
        return None
    return Sighting(str(here), str(there))


def dump(sighting: Sighting) -> bytes:
    """As kept in the state directory."""
    return json.dumps(asdict(sighting)).encode() + b"\n"


def load(content: bytes) -> Sighting | None:
    """What was kept; None where it is damaged, since the next session says it anew."""
    try:
        read = json.loads(content)
        return sighting_of(str(read["own"]), str(read["seen"]))
    except (ValueError, LookupError, TypeError):
        return None
