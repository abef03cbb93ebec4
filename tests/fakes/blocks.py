"""A world's rows as a block, counted in Python: what the SQL does, without a store.

Slowness is known here from the world itself; the store has to find it in the times.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np

from analysis.core.block import Block, Channel, Counts, Target, Vantage
from analysis.core.outcomes import failure_outcome
from proto.model import Failure, Kind, Operation, Role
from tests.fakes.worlds import START, World, packets

Key = tuple[int, int, int, int, int]


def block_of(world: World, *, heartbeat: dict[str, bool] | None = None) -> Block:
    """The block whose window begins where the world's fault does."""
    vantages = sorted({Vantage(one.name, one.asn, one.country) for one in world.vantages})
    targets = [
        Target(
            service=one.service,
            component=one.component,
            role=Role(one.role),
            address=one.address,
            asn=one.asn,
            prefix=one.prefix,
        )
        for one in world.targets
    ]
    channels = [Channel(kind, 4) for kind in (Kind.ICMP, Kind.TCP, Kind.HTTP, Kind.DNS)]
    numbers = (
        {(one.name, one.asn): i for i, one in enumerate(vantages)},
        {(one.service, one.component): i for i, one in enumerate(targets)},
        {one.kind.value: i for i, one in enumerate(channels)},
    )
    window, history = _count(world, numbers)
    attempts = np.zeros((len(targets), len(channels)))
    cells = np.zeros(len(targets))
    for (_, target, channel, _, _), count in history.items():
        attempts[target, channel] += count
    for target in {key[1] for key in history}:
        cells[target] = len({key[:4] for key in history if key[1] == target})
    start = START + timedelta(seconds=world.history_bins * world.bin_s)
    return Block(
        scenario=None,
        vantages=tuple(vantages),
        targets=tuple(targets),
        channels=tuple(channels),
        start=start,
        bin_s=float(world.bin_s),
        bins=world.fault_bins,
        as_of=start + timedelta(seconds=(world.fault_bins + 1) * world.bin_s),
        window=_counts(window),
        history=_counts(history),
        attempts=attempts,
        history_cells=cells,
        history_bins=world.history_bins,
        heartbeat=tuple((heartbeat or {}).get(one.name) for one in vantages),
    )


def _count(world: World, numbers: Any) -> tuple[Counter[Key], Counter[Key]]:
    of_vantage, of_target, of_channel = numbers
    window: Counter[Key] = Counter()
    history: Counter[Key] = Counter()
    for spot, ended, _ in world.slots():
        outcome = 1 if ended == "slow" else 0
        if isinstance(ended, tuple):
            found = _lost_outcome(spot.kind, ended)
            if found is None:
                continue
            outcome = found
        place = (
            of_vantage[spot.vantage.name, spot.vantage.asn],
            of_target[spot.target.service, spot.target.component],
            of_channel[spot.kind],
        )
        counted = window if spot.bin >= 0 else history
        counted[(*place, spot.bin, outcome)] += packets(spot.kind)
    return window, history


@cache
def _lost_outcome(kind: str, ended: tuple[str, str, int | None]) -> int | None:
    operation, failure, http_status = ended
    return failure_outcome(
        Kind(kind),
        operation=Operation(operation),
        failure=Failure(failure),
        http_status=http_status,
    )


def _counts(counted: Counter[Key]) -> Counts:
    keys = np.array(sorted(counted), dtype=np.int64).reshape(-1, 5)
    return Counts(
        vantage=keys[:, 0],
        target=keys[:, 1],
        channel=keys[:, 2],
        bin=np.maximum(keys[:, 3], 0),
        outcome=keys[:, 4],
        count=np.array([counted[tuple(key)] for key in keys.tolist()], dtype=np.float64),
    )
