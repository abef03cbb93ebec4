"""One world that is torn at: processes killed with -9, the coordinator cut off while a fault begins.

All of it happens in one run; the tests look at what is left on disk. What a probe's log calls acked
is the promise; the closed database is what became of it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

from deploy.lab.delay import start_delays
from deploy.lab.faults.scopes import cut_coordinator
from deploy.lab.ground import NamespaceGround
from deploy.lab.network import Network
from deploy.lab.scenario import Expected, Planned, Scenario
from deploy.lab.services import wait_until
from deploy.lab.topology import Topology
from deploy.lab.world import World, connected, open_world

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

QUIET_S = 24.0
FAULT_S = 16.0
BACK_S = 12.0  # for the backlog to arrive and the windows to be judged again
KILLED = ("v01", "v08", "v15")
ACKED = re.compile(r"event=report_acked epoch=(\d+) seq=(\d+) rows=(\d+)")
NAMED = re.compile(r"enrolled as (\w+);")
SCENARIO = Scenario(
    name="torn",
    title="killed, cut off, and whole again",
    seed=11,
    quiet_s=QUIET_S,
    truth=Expected(classes=("application_component",)),
    faults=(Planned(kind="http_503", for_s=FAULT_S, options={"components": ["spaces"]}),),
)


class Torn(NamedTuple):
    """What the run left."""

    database: Path
    acked: dict[tuple[str, int, int], int]  # (probe, epoch, seq) -> rows, from the probes' logs
    onset_s: float
    end_s: float
    reconnected: bool


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torn]:
    """Run the world once."""
    directory = tmp_path_factory.mktemp("torn")
    with Network(Topology.internet()) as network:
        start_delays(network, seed=SCENARIO.seed)
        ground = NamespaceGround(network)
        with open_world(SCENARIO, ground, directory, say=print) as world:
            world.follow(QUIET_S / 3, print)
            reconnected = kill_and_restart(world)
            world.follow(QUIET_S - 2, print)
            far = tuple(v for v in network.topology.vantages if v not in {"v23", "v24"})
            with cut_coordinator(network, far):
                world.follow(QUIET_S + FAULT_S, print)
            world.follow(QUIET_S + FAULT_S + BACK_S, print)
            truth = world.truth()
            world.fleet.stop()
            assert world.stop_coordinator() == 0
            yield Torn(
                world.database, acked(world), truth["onset_at"], truth["end_at"], reconnected
            )


def kill_and_restart(world: World) -> bool:
    """-9 for the coordinator and three probes, all started again; do all come back?"""
    world.coordinator.kill()
    for vantage in KILLED:
        world.fleet.kill(vantage)
    world.start_coordinator()
    for vantage in KILLED:
        world.fleet.start(vantage)
    count = len(world.ground.topology.vantages)
    wait_until(lambda: connected(world) == count, what="all probes to come back")
    return True


def acked(world: World) -> dict[tuple[str, int, int], int]:
    """Every report that a probe was told is safe."""
    found = {}
    for vantage in world.fleet.tokens:
        log = (world.fleet.state(vantage) / "log").read_text()
        name = NAMED.search(log)
        assert name is not None
        for epoch, seq, rows in ACKED.findall(log):
            found[name[1], int(epoch), int(seq)] = int(rows)
    return found


def ask(torn: Torn, sql: str, *values: object) -> list[tuple[object, ...]]:
    """Rows of the closed database."""
    with duckdb.connect(str(torn.database), read_only=True) as connection:
        return connection.execute(sql, values).fetchall()


def test_no_acked_report_is_lost(torn: Torn) -> None:
    """Every report acked before or after the kills is in the store, with all its rows."""
    stored = {
        (probe, epoch, seq): rows
        for probe, epoch, seq, rows in ask(
            torn, "SELECT probe_id, epoch, seq, row_count FROM batches"
        )
    }
    assert len(torn.acked) > 500
    assert {key: stored.get(key) for key in torn.acked} == torn.acked


def test_no_row_is_doubled(torn: Torn) -> None:
    """One row per probe, check, slot and family, and as many rows as the batches count."""
    doubled = ask(
        torn,
        "SELECT probe_id, check_no, slot_at, family, count(*) FROM results "
        "GROUP BY ALL HAVING count(*) > 1 LIMIT 5",
    )
    assert doubled == []
    assert ask(torn, "SELECT count(*) FROM results") == ask(
        torn, "SELECT sum(row_count)::BIGINT FROM batches"
    )


def test_all_come_back_after_kills(torn: Torn) -> None:
    """Killed probes keep their identity and the restarted coordinator takes everybody back."""
    assert torn.reconnected
    (count,) = ask(torn, "SELECT count(DISTINCT probe_id) FROM batches")
    assert count == (24,)


def test_backfilled_rows_revise_the_verdict_and_both_stay(torn: Torn) -> None:
    """A window judged while nearly all were cut off is judged again with their rows; both are kept."""
    rows = ask(
        torn,
        "SELECT verdict_id, revision, class FROM verdicts "
        "WHERE service = 'x' AND component = 'spaces' "
        "AND epoch(window_to) BETWEEN ? AND ? ORDER BY verdict_id, revision",
        torn.onset_s + 6,
        torn.end_s,
    )
    revisions: dict[object, list[object]] = {}
    for name, _, verdict_class in rows:
        revisions.setdefault(name, []).append(verdict_class)
    turned = [
        said
        for said in revisions.values()
        if said[0] == "insufficient" and said[-1] == "application_component"
    ]
    assert turned, revisions
