"""A large fleet's hour in a store, honest probes in bad places and liars of several kinds among them.

Drawn with numpy and appended by the column: half a million cells in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt

from tests.fakes.facts import SECOND_US, T0_US, Fact, open_store, write

ANCHORS: Final = 12
TIMED_ANCHORS: Final = 3
BINS: Final = 60
MINUTE_US: Final = 60 * SECOND_US
END_US: Final = T0_US + BINS * MINUTE_US

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrustWorld:
    """The store, and who is what: by kind of liar the names; honest are all others."""

    store: duckdb.DuckDBPyConnection
    honest: tuple[str, ...]
    liars: Mapping[str, tuple[str, ...]]

    @property
    def everybody(self) -> tuple[str, ...]:
        return (*self.honest, *(name for names in self.liars.values() for name in names))


KINDS: Final = ("invents", "shares", "random", "frozen", "copies", "impossible")


def make_trust_world(seed: int, *, honest: int, liars_each: int) -> TrustWorld:
    """Honest probes first, then so many liars of each kind."""
    draw = np.random.default_rng(seed)
    names = tuple(f"h{i:04d}" for i in range(honest))
    liars = {kind: tuple(f"{kind}{i}" for i in range(liars_each)) for kind in KINDS}
    world = TrustWorld(open_store(), names, liars)
    _declare(world)
    _cells(world, draw)
    _times(world, draw)
    _canaries(world, draw)
    return world


def _declare(world: TrustWorld) -> None:
    """One good row of each probe and check gives the numbers that all others share."""
    checks = [
        {"check_no": i + 1, "check_id": f"anchor/a{i:02d}/tcp/4", "component": f"a{i:02d}"}
        for i in range(ANCHORS)
    ]
    first = world.everybody[0]
    write(
        world.store,
        [
            *(Fact(service="anchor", role="anchor", probe_id=first, vantage=first, slot_at_us=0,
                   received_at_us=0, **check) for check in checks),
            Fact(service="canary", role="anchor", component="nonce", check_no=99, kind="http",
                 check_id="canary/nonce/http/4", probe_id=first, vantage=first, slot_at_us=0,
                 received_at_us=0),
            *(Fact(service="anchor", role="anchor", probe_id=name, vantage=name, slot_at_us=0,
                   received_at_us=0, **checks[0]) for name in world.everybody[1:]),
        ],
    )  # fmt: skip


def _failing(world: TrustWorld, draw: np.random.Generator) -> Flags:
    """[probe, anchor, bin]: everything that befalls an honest fleet in an hour, and the random liars."""
    probes = len(world.everybody)
    loss = np.minimum(draw.lognormal(np.log(0.004), 1.2, probes), 0.25)
    fails = draw.random((probes, ANCHORS, BINS)) < loss[:, None, None]
    _fall(fails, draw, share=0.05, bins=(5, 30), anchors=ANCHORS)  # own lines go down
    _fall(fails, draw, share=0.03, bins=(BINS, BINS), anchors=2)  # anchors blocked from there
    bursts = draw.random((probes, 1, BINS)) < 0.03  # a third of a bin's checks meet a burst
    fails |= bursts & (draw.random((probes, ANCHORS, BINS)) < 1 / 3)
    fails[:, 3, 10:25] = True  # an anchor is down for all,
    fails[draw.random(probes) < 0.3, 5, 30:50] = True  # and one for a part of the world
    for i, name in enumerate(world.everybody):
        if name in world.liars["random"]:
            fails[i] = draw.random((ANCHORS, BINS)) < 0.3
    return np.asarray(fails)


def _fall(
    fails: Flags, draw: np.random.Generator, *, share: float, bins: tuple[int, int], anchors: int
) -> None:
    for probe in np.flatnonzero(draw.random(len(fails)) < share):
        length = int(draw.integers(bins[0], bins[1] + 1))
        start = int(draw.integers(0, BINS - length + 1))
        hit = draw.choice(ANCHORS, anchors, replace=False)
        fails[probe, hit, start : start + length] = True


def _cells(world: TrustWorld, draw: np.random.Generator) -> None:
    fails = _failing(world, draw)
    probe, anchor, slot = (axis.ravel() for axis in np.indices(fails.shape))
    columns = {
        "at_us": T0_US + slot * MINUTE_US,
        "vantage": np.array(world.everybody, dtype=object)[probe],
        "component": np.array([f"a{i:02d}" for i in range(ANCHORS)], dtype=object)[anchor],
        "lost": fails.ravel().astype(np.uint32),
    }
    world.store.register("drawn", columns)
    world.store.execute(
        "INSERT INTO cells BY NAME SELECT make_timestamp(at_us) AS slot_at, 60 AS bin_s, vantage, "
        "'anchor' AS service, component, 'anchor' AS role, 'tcp' AS kind, 4 AS family, 1 AS sent, "
        "lost FROM drawn"
    )
    world.store.unregister("drawn")


def _times(world: TrustWorld, draw: np.random.Generator) -> None:
    """Handshakes with anchors: a distance, a queue, and the clock's microseconds."""
    shape = (len(world.everybody), TIMED_ANCHORS, BINS)
    base = draw.lognormal(np.log(30), 1.0, shape[:2])[:, :, None]
    rtt = np.round(np.maximum(base, 1.0) + draw.exponential(0.5, shape), 3)
    total = np.round(rtt + 0.1 + draw.exponential(0.3, shape), 3)
    late = np.zeros(shape)
    for i, name in enumerate(world.everybody):
        if name in world.liars["frozen"]:
            rtt[i], total[i] = rtt[i, :, :1], total[i, :, :1]
        elif name in world.liars["copies"]:
            rtt[i], total[i], late[i] = rtt[0], total[0], 20.0
        elif name in world.liars["impossible"]:
            total[i] = rtt[i] / 2 + 1
    probe, anchor, slot = (axis.ravel() for axis in np.indices(shape))
    at = T0_US + slot * MINUTE_US + anchor * SECOND_US
    columns = {
        "at_us": at,
        "received_us": at + SECOND_US + (late.ravel() * SECOND_US).astype(np.int64),
        "check_no": anchor + 1,
        "rtt": rtt.ravel(),
        "total": total.ravel(),
        "body": np.array([None] * len(at), dtype=object),
    }
    _rows(world, probe, columns)


def _canaries(world: TrustWorld, draw: np.random.Generator) -> None:
    """A canary every five minutes: who asked reports its answer, who did not makes one up."""
    count = BINS // 5
    probe, slot = (axis.ravel() for axis in np.indices((len(world.everybody), count)))
    at = T0_US + slot * 5 * MINUTE_US + 30 * SECOND_US
    body: list[str | None] = [f"{n:064x}" for n in range(len(at))]
    given = list(body)
    shared = [i for i, n in enumerate(probe) if world.everybody[n] in world.liars["shares"]]
    for i in shared:
        body[i] = given[i] = f"{10**9 + int(slot[i]):064x}"  # one of them asks for all
    for i, n in enumerate(probe):
        if world.everybody[n] in world.liars["invents"]:
            body[i] = f"{10**12 + i:064x}"
    lost = draw.random(len(at)) < 0.005  # answers that a crash of ours lost
    kept = sorted({one for one, gone in zip(given, lost, strict=True) if one and not gone})
    world.store.execute(
        "INSERT INTO canary_answers SELECT make_timestamp($at_us), '', unnest($given)",
        {"at_us": T0_US, "given": kept},
    )
    columns = {
        "at_us": at,
        "received_us": at + SECOND_US,
        "check_no": np.full(len(at), 99),
        "rtt": np.full(len(at), 20.0),
        "total": np.full(len(at), 40.0),
        "body": np.array(body, dtype=object),
    }
    _rows(world, probe, columns)


def _rows(world: TrustWorld, probe: Any, columns: Mapping[str, Any]) -> None:
    """`columns`: at_us, received_us, check_no, rtt, total, body."""
    names = np.array(world.everybody, dtype=object)[probe]
    world.store.register("drawn", {**columns, "probe": names})
    world.store.execute(
        "INSERT INTO result_rows BY NAME SELECT make_timestamp(at_us) AS slot_at, "
        "make_timestamp(received_us) AS received_at, p.declaration_no, 1 AS epoch, 1 AS seq, "
        "c.definition_no, (SELECT min(fact_no) FROM result_facts) AS fact_no, "
        "rtt AS rtt_ms_min, rtt AS rtt_ms_median, rtt AS rtt_ms_max, rtt AS connect_ms, "
        "total AS total_ms, body AS body_sha256 FROM drawn "
        "INNER JOIN probes AS p ON p.probe_id = drawn.probe "
        "INNER JOIN checks AS c ON c.check_no = drawn.check_no"
    )
    world.store.unregister("drawn")
