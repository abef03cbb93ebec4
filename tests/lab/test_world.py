"""One world that is torn at: processes killed with -9, a way swallowed and traced, the coordinator
cut off while a fault begins.

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
from deploy.lab.faults.network import blackhole
from deploy.lab.faults.scopes import cut_coordinator
from deploy.lab.ground import NamespaceGround
from deploy.lab.internet import internet
from deploy.lab.network import Network
from deploy.lab.routing import Paths
from deploy.lab.scenario import Expected, Planned, Scenario
from deploy.lab.services import wait_until
from deploy.lab.world import World, connected, open_world

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

QUIET_S = 32.0
FAULT_S = 16.0
BACK_WITHIN_S = 45.0
DELIVERY_S = 8.0  # for the backlog to arrive
REVISED_WITHIN_S = 60.0
COMPARED_WITHIN_S = 25.0  # a slot, its timeout, the trace's, a report
HIT, SWALLOWING, SWALLOWED = "ac01", "tr1", "y-front"
COMPARED = re.compile(r"event=comparison .*working=\w")
KILLED = ("v01", "v08", "v15")
ACKED = re.compile(r"event=report_acked epoch=(\d+) seq=(\d+) rows=(\d+)")
NAMED = re.compile(r"event=started probe_id=(\w+)")
SCENARIO = Scenario(
    name="torn",
    title="killed, cut off, and whole again",
    seed=11,
    quiet_s=QUIET_S,
    truth=Expected(classes=("application_component",)),
    followed_up=("status",),
    faults=(Planned(kind="http_503", for_s=FAULT_S, options={"components": ["spaces"]}),),
)


class Acked(NamedTuple):
    """How far a probe was told that its reports are safe, and how many rows that were."""

    seq: int
    rows: int


class Torn(NamedTuple):
    """What the run left."""

    database: Path
    acked: dict[tuple[str, int], Acked]  # by (probe, epoch), from the probes' logs
    reconnected: bool


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torn]:
    """Run the world once."""
    directory = tmp_path_factory.mktemp("torn")
    with Network(internet()) as network:
        start_delays(network, seed=SCENARIO.seed)
        ground = NamespaceGround(network)
        with open_world(SCENARIO, ground, directory, say=print) as world:
            world.follow(QUIET_S / 3, print)
            reconnected = kill_and_restart(world)
            swallow_a_way(world, network)
            world.follow(QUIET_S - 2, print)
            far = tuple(v for v in network.topology.vantages if v not in {"v23", "v24"})
            with cut_coordinator(network, far):
                world.follow(QUIET_S + FAULT_S, print)
            world.follow(QUIET_S + FAULT_S + DELIVERY_S, print)
            # With nobody measuring, the judge has time for the past, however busy the machine is.
            world.fleet.stop()
            wait_until(
                lambda: bool(turned(revisions(world))),
                what="a verdict to turn",
                timeout_s=REVISED_WITHIN_S,
            )
            assert world.stop_coordinator() == 0, world.coordinator.log_tail()
            yield Torn(world.database, acked(world), reconnected)


def kill_and_restart(world: World) -> bool:
    """-9 for the coordinator and three probes, all started again; do all come back?"""
    world.coordinator.kill()
    for vantage in KILLED:
        world.fleet.kill(vantage)
    world.start_coordinator()
    for vantage in KILLED:
        world.fleet.start(vantage)
    count = len(world.ground.topology.vantages)
    wait_until(lambda: connected(world) == count, what="all probes", timeout_s=BACK_WITHIN_S)
    return True


def swallow_a_way(world: World, network: Network) -> None:
    """Until a working vantage was asked for its trace beside one that lost its way."""
    log = world.directory / "coordinator.log"
    # For one access network alone: all others work, whichever of them is asked.
    fault = blackhole(
        network,
        at=SWALLOWING,
        toward=(SWALLOWED,),
        arriving_from=(HIT,),
        verdict_class="upstream",
    )
    with fault:
        wait_until(
            lambda: COMPARED.search(log.read_text()) is not None,
            what="a comparison of two ways",
            timeout_s=COMPARED_WITHIN_S,
        )


def acked(world: World) -> dict[tuple[str, int], Acked]:
    """What each probe was told is safe. An ack speaks of every report up to its number."""
    found: dict[tuple[str, int], Acked] = {}
    for vantage in world.fleet.tokens:
        log = (world.fleet.state(vantage) / "log").read_text()
        name = NAMED.search(log)
        assert name is not None
        for epoch, seq, rows in ACKED.findall(log):
            key = name[1], int(epoch)
            found[key] = Acked(int(seq), found.get(key, Acked(0, 0)).rows + int(rows))
    return found


def revisions(world: World) -> dict[str, list[str]]:
    """Window -> what was said of the live component, revision by revision."""
    said: dict[str, list[str]] = {}
    found = world.get("/api/verdicts/all?service=x&component=spaces&limit=500")
    for verdict in sorted(found, key=lambda one: int(one["revision"])):
        said.setdefault(str(verdict["window"]), []).append(verdict["class"])
    return said


def turned(said: dict[str, list[str]]) -> list[str]:
    """Windows that were not decidable at first and then showed the component failing."""
    return [
        window
        for window, classes in said.items()
        if classes[0] == "insufficient" and classes[-1] in {"application_component", "application"}
    ]


def ask(torn: Torn, sql: str, *values: object) -> list[tuple[object, ...]]:
    """Rows of the closed database."""
    with duckdb.connect(str(torn.database), read_only=True) as connection:
        return connection.execute(sql, values).fetchall()


def test_no_acked_report_is_lost(torn: Torn) -> None:
    """Every row that a probe was told is safe is in the store, in an unbroken run of reports."""
    # More than was told is fine: an ack may have died with the coordinator after its commit.
    lost = []
    for key, told in torn.acked.items():
        ((rows, reports, first),) = ask(
            torn,
            "SELECT sum(row_count)::BIGINT, count(*), min(seq) FROM batches "
            "WHERE probe_id = ? AND epoch = ? AND seq <= ?",
            *key,
            told.seq,
        )
        if (first, reports) != (1, told.seq) or int(str(rows)) < told.rows:
            lost.append((key, told, rows, reports, first))
    assert sum(told.rows for told in torn.acked.values()) > 5000
    assert lost == []


def test_no_row_is_doubled(torn: Torn) -> None:
    """One row per probe, check, slot and family, and as many rows as the batches count."""
    doubled = ask(
        torn,
        "SELECT probe_id, check_no, slot_at, family, count(*) FROM results "
        "WHERE trigger = 'schedule' GROUP BY ALL HAVING count(*) > 1 LIMIT 5",
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
    said: dict[str, list[str]] = {}
    for name, verdict_class in ask(
        torn,
        "SELECT verdict_id, class FROM verdicts WHERE service = 'x' AND component = 'spaces' "
        "ORDER BY verdict_id, revision",
    ):
        said.setdefault(str(name), []).append(str(verdict_class))
    assert turned(said), said


def traced(torn: Torn, trigger: str, *, reached: bool) -> dict[str, list[list[str]]]:
    """The machines that answered each trace made for this reason, in order, by vantage."""
    topology = internet()
    owners = {link.address(name, 4): name for link in topology.links for name in (link.a, link.b)}
    found: dict[str, list[list[str]]] = {}
    for vantage, routers in ask(
        torn,
        "SELECT vantage, list(router ORDER BY ttl) FROM (SELECT DISTINCT h.vantage, r.slot_at, "
        "h.ttl, h.router FROM hops AS h JOIN results AS r USING (probe_id, check_no, slot_at, trigger)"
        " WHERE h.component = 'status' AND h.router IS NOT NULL AND h.trigger = $1 "
        "AND (r.failure IS NULL) = $2) GROUP BY vantage, slot_at",
        trigger,
        reached,
    ):
        assert isinstance(routers, list)
        found.setdefault(str(vantage), []).append([owners[router] for router in routers])
    return found


def way(vantage: str) -> list[str]:
    """The machines behind a vantage on its way, by the routing tables."""
    return list(Paths(internet()).path(vantage, SWALLOWED, 4)[1:])


def test_a_failure_is_tried_again_with_its_slot(torn: Torn) -> None:
    """Every confirmation has the slot of a failed scheduled row of its check."""
    ((confirmed, orphans),) = ask(
        torn,
        "SELECT count(*), count(*) FILTER (NOT EXISTS (FROM results AS s WHERE s.trigger = 'schedule'"
        " AND s.failure IS NOT NULL AND (s.probe_id, s.check_no, s.slot_at) ="
        " (r.probe_id, r.check_no, r.slot_at))) FROM results AS r WHERE r.trigger = 'confirmation'",
    )
    assert int(str(confirmed)) > 0
    assert orphans == 0


def test_the_two_traces_show_where_the_ways_part(torn: Torn) -> None:
    """The failing way ends at the router that swallows; one of another network goes through."""
    # A trace that began when the way was whole again is no witness.
    failing = traced(torn, "failure", reached=False)
    working = traced(torn, "request", reached=True)
    assert failing
    assert working
    for traces in failing.values():
        assert all(machines == [HIT, SWALLOWING] for machines in traces), traces
    for vantage, traces in working.items():
        assert all(machines == way(vantage) for machines in traces), traces
        assert way(vantage)[0] != HIT


def test_what_runs_beside_the_schedule_is_in_no_cell(torn: Torn) -> None:
    """The cells of the component that was followed up count its scheduled attempts and no other."""
    # Up to the bin of the comparison: all of that is counted long before the end.
    ((until,),) = ask(
        torn,
        "SELECT max(slot_at) FROM cells WHERE slot_at <= "
        "(SELECT min(slot_at) FROM results WHERE trigger = 'request')",
    )
    ((in_cells, scheduled, beside),) = ask(
        torn,
        "SELECT (SELECT sum(sent) FROM cells WHERE component = 'status' AND slot_at < $1), "
        "sum(greatest(sent, 1)) FILTER (trigger = 'schedule'), "
        "count(*) FILTER (trigger = 'confirmation') FROM results WHERE component = 'status' "
        "AND slot_at < $1 AND state = 'measured' AND validity = 'ok' AND control IS NULL",
        until,
    )
    assert int(str(beside)) > 0
    assert in_cells == scheduled
    assert ask(torn, "SELECT count(*) FROM cells WHERE kind = 'trace'") == [(0,)]
