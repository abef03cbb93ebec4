"""Where probes are: what the coordinator sees of them beside what was declared, row by row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coordinator.app import wall_us as now_us
from coordinator.core.networks import Place
from coordinator.core.registry import Probe, ProbeState, Sources, Vantage
from coordinator.core.roster import full, line
from proto.model import ConfigError
from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.fleet_client import Credentials, Line, session
from tests.fakes.reports import batch_of, body_of, row

NETWORKS = '\n[networks]\nfiles = ["net.csv"]\n'
HERE = "network,asn,country,name\n127.0.0.0/8,{asn},{country},Loop\n"


def table(path: Path, *, asn: int, country: str) -> None:
    """Write the file that says where 127.0.0.1 is."""
    (path / "net.csv").write_text(HERE.format(asn=asn, country=country), encoding="utf-8")


def a_probe(**fields: object) -> Probe:
    """A probe that declared AS64512 in DE."""
    fields = {"declared": Vantage(asn=64512, country="DE"), "seen": None, **fields}
    return Probe(probe_id="p", name="v", state=ProbeState.ENROLLED, enrolled_at_us=0, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "sources", "vantage", "whence", "differs"),
    [
        (None, Sources(), (64512, "DE"), ("declared", "declared"), ()),
        (Place(1, "FR"), Sources(), (1, "FR"), ("seen", "seen"), ("asn", "country")),
        (Place(1, None), Sources(), (1, "DE"), ("seen", "declared"), ("asn",)),
        (Place(1, "DE"), Sources(asn="declared"), (64512, "DE"), ("declared", "seen"), ("asn",)),
        (Place(64512, "DE"), Sources(), (64512, "DE"), ("seen", "seen"), ()),
    ],
)
def test_which_source_holds(
    seen: Place | None,
    sources: Sources,
    vantage: tuple[int, str],
    whence: tuple[str, str],
    differs: tuple[str, ...],
) -> None:
    """The configured source holds where it knows, the other where it does not; both are kept."""
    probe = a_probe(seen=seen, sources=sources)
    assert (probe.vantage.asn, probe.vantage.country) == vantage
    assert (probe.asn_source, probe.country_source) == whence
    assert probe.disagreements == differs


def test_nothing_known_is_nothing() -> None:
    """A probe of which nobody knows anything has no AS and no source, not 0."""
    probe = a_probe(declared=Vantage())
    assert (probe.vantage.asn, probe.asn_source, probe.country_source) == (None, None, None)


ROWS = "SELECT vantage_asn, vantage_country FROM results ORDER BY received_at, seq"
TRUTH = """
SELECT vantage_asn, asn_source, declared_asn, seen_asn, vantage_country, asn_differs, country_differs
FROM vantages
"""


@asynccontextmanager
async def visit(house: House, probe: Credentials, *, epoch: int) -> AsyncIterator[Line]:
    """A session that has sent one row by the time it is given."""
    async with session(house.fleet, probe.channel()) as line:
        await line.hello(sent_at_us=now_us(), epoch=epoch)
        await line.send(batch=batch_of(body_of([row(1, now_us())]), epoch=epoch))
        await line.receive("ack")
        yield line


async def seen(house: House, probe: Credentials) -> int | None:
    """The AS that the registry knows the probe is seen in."""
    known = house.runtime.registry.probe(probe.probe_id)
    assert known is not None
    return known.seen.asn if known.seen else None


def test_rows_are_of_where_the_probe_was_seen_when_they_came(tmp_path: Path) -> None:
    """A probe seen in another network is another vantage point from its hello on; old rows stay."""
    table(tmp_path, asn=64500, country="FR")

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CONFIG + NETWORKS) as house:
            probe = await house.probe()
            async with visit(house, probe, epoch=1):
                assert house.ask(ROWS) == [(64500, "FR")]
                assert house.ask(TRUTH) == [(64500, "seen", 64512, 64500, "FR", True, True)]
            table(tmp_path, asn=64512, country="DE")
            await house.runtime.networks.refresh()
            async with visit(house, probe, epoch=2):
                assert house.ask(ROWS) == [(64500, "FR"), (64512, "DE")]
                assert house.ask(TRUTH) == [(64512, "seen", 64512, 64512, "DE", False, False)]
            addresses = "SELECT DISTINCT address FROM sessions WHERE what = 'connect'"
            await house.until(addresses, [("127.0.0.1",)])

    asyncio.run(scenario())


def test_a_connected_probe_is_looked_up_anew_when_the_file_changes(tmp_path: Path) -> None:
    """A new table holds for who stays, a bad one changes nothing, and both are on record."""
    table(tmp_path, asn=64500, country="FR")

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CONFIG + NETWORKS) as house:
            networks, probe = house.runtime.networks, await house.probe()
            async with visit(house, probe, epoch=1):
                (tmp_path / "net.csv").write_text("network,asn\n127.0.0.0/8,x\n", encoding="utf-8")
                await networks.refresh()
                assert await seen(house, probe) == 64500
                table(tmp_path, asn=64501, country="IT")
                await networks.refresh()
                await house.until("SELECT vantage_asn FROM vantages", [(64501,)])
                taken = "SELECT ranges, findings LIKE '%line 2: asn is \"x\"%' FROM network_tables"
                assert house.ask(f"{taken} ORDER BY rowid") == [(1, None), (None, True), (1, None)]
                await networks.refresh()
                assert len(house.ask("FROM network_tables")) == 3

    asyncio.run(scenario())


def test_the_configuration_says_which_source_holds(tmp_path: Path) -> None:
    """What was declared can be made to hold, and the other word is kept beside it."""
    table(tmp_path, asn=64500, country="FR")

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CONFIG + NETWORKS) as house:
            probe = await house.probe()
            async with visit(house, probe, epoch=1):
                declared = CONFIG + NETWORKS + 'asn_from = "declared"\n'
                house.config_file.write_text(declared, encoding="utf-8")
                await house.runtime.configs.reload()
                query = "SELECT vantage_asn, asn_source, seen_asn, vantage_country FROM vantages"
                await house.until(query, [(64512, "declared", 64500, "FR")])
            (facts,) = await house.operator.list_probes()
            assert "64512!" in line(facts)
            shown = "\n".join(full(facts, now_us=now_us()))
            assert "AS64512, declared; NOT as seen: 64500" in shown
            assert "FR, seen; NOT as declared: DE" in shown
            assert "127.0.0.1, held by Loop" in shown

    asyncio.run(scenario())


def test_without_a_table_what_was_declared_holds(tmp_path: Path) -> None:
    """Nobody looks anything up, nothing is seen, and nothing differs."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with visit(house, probe, epoch=1):
                assert house.ask(TRUTH) == [(64512, "declared", 64512, None, "DE", False, False)]

    asyncio.run(scenario())


def test_what_was_seen_outlives_a_restart(tmp_path: Path) -> None:
    """A probe that is away is where it was last seen, before it comes back."""
    table(tmp_path, asn=64500, country="FR")

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CONFIG + NETWORKS) as house:
            probe = await house.probe()
            async with visit(house, probe, epoch=1):
                pass
        async with a_coordinator(tmp_path, config=CONFIG + NETWORKS) as house:
            assert await seen(house, probe) == 64500
            assert house.ask("SELECT vantage_asn FROM vantages") == [(64500,)]

    asyncio.run(scenario())


def test_a_start_with_a_bad_table_says_every_finding(tmp_path: Path) -> None:
    """At a start there is no table before it that could stay: it ends, and names what is wrong."""
    (tmp_path / "net.csv").write_text("network,asn\nx,y\nz,1\n", encoding="utf-8")

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=CONFIG + NETWORKS):
            raise AssertionError("it started")

    with pytest.raises(ConfigError) as caught:
        asyncio.run(scenario())
    assert [finding.partition(": ")[2][:7] for finding in caught.value.findings] == [
        "line 2:",
        "line 3:",
    ]
