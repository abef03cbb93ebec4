"""How far apart the lab's places are: a round trip for every access network and country, seeded.

Light in fibre makes 200 km a millisecond, and cables are not straight: half as long again is usual.
To the way between two countries come a detour and a last mile of each access network's own, drawn
from the seed: two networks of one city are not equally far.

No path is shorter than a millisecond. On a path of no length an ICMP error arrives while the socket
that it belongs to is still inside connect(), and the kernel drops it: the connection then fails
after a second instead of at once, which no real network shows.
"""

from __future__ import annotations

import math
import random
from typing import Final

from deploy.lab.topology import Topology

ROUND_TRIP_MIN_US: Final = 1000
_US_PER_KM: Final = 10.0  # there and back, 200 km/ms
_CABLES_ARE_NOT_STRAIGHT: Final = 1.5
_EARTH_RADIUS_KM: Final = 6371.0
_LAST_MILE_US: Final = (2000, 12000)  # there and back: fibre to a busy cable network
_DETOUR: Final = (0.9, 1.3)

# Where a country's networks mostly meet, degrees north and east.
_PLACES: Final = {
    "AU": (-33.9, 151.2),
    "BR": (-23.5, -46.6),
    "CA": (43.7, -79.4),
    "CL": (-33.4, -70.7),
    "DE": (50.1, 8.7),
    "FR": (48.9, 2.4),
    "GB": (51.5, -0.1),
    "IN": (19.1, 72.9),
    "JP": (35.7, 139.7),
    "NG": (6.5, 3.4),
    "NL": (52.4, 4.9),
    "SG": (1.3, 103.8),
    "US": (39.0, -77.5),
    "ZA": (-26.2, 28.0),
}


def round_trips_us(topology: Topology, *, seed: int) -> dict[tuple[str, str], int]:
    """(access router, country of the other end) -> round trip in microseconds.

    `LookupError` for a country without a place in this module's table.
    """
    found: dict[tuple[str, str], int] = {}
    countries = sorted({system.country for system in topology.systems.values()})
    for router in topology.access_networks():
        chance = random.Random(f"{seed} {router}")
        last_mile_us = chance.uniform(*_LAST_MILE_US)
        here = _place(topology.machine(router).country)
        for country in countries:
            way_us = _kilometres(here, _place(country)) * _CABLES_ARE_NOT_STRAIGHT * _US_PER_KM
            total_us = last_mile_us + way_us * chance.uniform(*_DETOUR)
            found[router, country] = max(ROUND_TRIP_MIN_US, round(total_us))
    return found


def _place(country: str) -> tuple[float, float]:
    if country not in _PLACES:
        raise LookupError(f"country {country!r} has no place; there are {', '.join(_PLACES)}")
    return _PLACES[country]


def _kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Great-circle distance (haversine)."""
    (north1, east1), (north2, east2) = (tuple(map(math.radians, place)) for place in (one, other))
    half = (
        math.sin((north2 - north1) / 2) ** 2
        + math.cos(north1) * math.cos(north2) * math.sin((east2 - east1) / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(half))
