"""One world per class of verdict: the fault that makes it true."""

from __future__ import annotations

from functools import cache

from analysis.core.block import Block
from tests.fakes import worlds
from tests.fakes.blocks import block_of
from tests.fakes.worlds import Fault

# Seeds that tests judge. Tables and thresholds were looked at with other seeds (below 100) only.
EVALUATION_SEEDS = (1009, 2003)

FAULTS: dict[str, Fault | None] = {
    "healthy": None,
    "vantage_local": worlds.cut_off(lambda one: one.name == "v05"),
    "access_network": worlds.cut_off(lambda one: one.asn == 64503),
    "country": worlds.cut_off(lambda one: one.country == "FR"),
    "upstream": worlds.transit_fails(
        (64500, 64501, 64502, 64506, 64507), (64700, 64801, 64802, 64803)
    ),
    "interference": worlds.blocked_in("BR"),
    "target_network": worlds.dead_network,
    "target_network_lossy": worlds.lossy_network,
    "dns": worlds.lost_names,
    "edge": worlds.only("spaces", worlds.refuses),
    "tls": worlds.only("spaces", worlds.expired),
    "application_service": worlds.service_wide(worlds.breaks),
    "application_component": worlds.only("spaces", worlds.breaks),
    "overload": worlds.only("spaces", worlds.overloads),
    "other_target_fault": worlds.only("spaces", worlds.oddity),
}

# A block in one country is settled by that country's networks alone: two of them are too few.
SETTINGS: dict[str, dict[str, int]] = {"interference": {"networks": 24}}


@cache
def block_for(name: str, seed: int = EVALUATION_SEEDS[0]) -> Block:
    """The block of a class's world; blocks are values, so tests may share them."""
    return block_of(worlds.make_world(seed, FAULTS[name], **SETTINGS.get(name, {})))
