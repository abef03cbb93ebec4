"""The page over a real store, asked over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from coordinator.core.settings import Address
from coordinator.ports import PortError
from coordinator.progress import Progress
from coordinator.store.writer import Store
from coordinator.web.server import HEADERS, serve
from tests.fakes.pages import make_desk, open_busy_page, open_page

Body = Callable[[aiohttp.ClientSession, Store], Awaitable[None]]


def _visit(path: Path, body: Body, *, busy: bool, title: str = "X") -> None:
    opened = open_busy_page if busy else open_page

    async def main() -> None:
        async with (
            opened(path, title=title) as (url, store),
            aiohttp.ClientSession(base_url=url) as session,
        ):
            await body(session, store)

    asyncio.run(main())


async def _text(session: aiohttp.ClientSession, path: str, *, status: int = 200) -> str:
    async with session.get(path) as reply:
        assert reply.status == status, await reply.text()
        for name in HEADERS:
            assert name in reply.headers
        return await reply.text()


async def _json(session: aiohttp.ClientSession, path: str, *, status: int = 200) -> Any:
    return json.loads(await _text(session, path, status=status))


def test_the_page_says_what_failed_and_who_was_asked(tmp_path: Path) -> None:
    """Sentence first, incident with its own page, lanes as SVG, the fleet with what is not known."""

    async def body(session: aiohttp.ClientSession, store: Store) -> None:
        page = await _text(session, "/")
        newest = (await _json(session, "/api/verdicts?service=x&component="))[0]
        assert newest["level"] == "application"
        assert newest["sentence"] in page
        assert page.index(newest["sentence"]) < page.index('id="incidents"')
        assert 'class="lost"' in page
        assert "anchor-7" in page
        assert "AS64514" in page
        assert "hoster &lt;b&gt;" in page
        assert "<b>" not in page
        assert "never came" in page
        assert "<strong>1200 lost</strong>" in page
        assert "7 slots given up" in page
        assert "<script" not in page
        incidents = await _json(session, "/api/incidents?service=x&component=spaces")
        assert len(incidents) == 1
        story = await _text(session, f"/incident/{incidents[0]['incident_id']}")
        assert incidents[0]["sentence"] in story
        assert "What cannot be told apart from outside" in story
        assert "SELECT" in story
        revisions = await _json(session, f"/api/incidents/{incidents[0]['incident_id']}")
        assert [one["incident_id"] for one in revisions] == [incidents[0]["incident_id"]]

    _visit(tmp_path, body, busy=True)


def test_json_has_the_shapes_of_the_contract(tmp_path: Path) -> None:
    """Verdicts, probes, ingest and lanes as data; filters and limits hold."""

    async def body(session: aiohttp.ClientSession, store: Store) -> None:
        verdicts = await _json(session, "/api/verdicts?service=x&component=spaces")
        assert {"level", "class", "sentence", "revision", "stage", "p_overload"} <= set(verdicts[0])
        assert {one["component"] for one in verdicts} == {"spaces"}
        windows = [tuple(one["window"]) for one in verdicts]
        assert windows == sorted(windows, reverse=True)
        assert len(await _json(session, "/api/verdicts?limit=3")) == 3
        since = windows[2][1]
        later = await _json(session, f"/api/verdicts?service=x&component=spaces&from={since}")
        assert [one["window"] for one in later] == [list(one) for one in windows if one[1] > since]
        assert await _json(session, "/api/verdicts?service=nobody") == []
        probes = await _json(session, "/api/probes")
        assert [one["name"] for one in probes] == [f"v{n:02}" for n in range(12)]
        assert probes[0]["vantage_asn"] is None
        assert probes[11]["seen_us"] is None
        assert probes[3]["spool_rows"] == 9
        assert round(probes[3]["error_ms"]) == 12
        ingest = await _json(session, "/api/ingest")
        assert ingest["rejected_by_reason"] == {"foreign check": 1}
        everything = await _json(session, "/api/verdicts/all?limit=10000")
        assert ingest["judging"]["verdicts"] == len(everything) > 12
        lanes = await _json(session, "/api/lanes")
        lost = {(one["component"], one["kind"]) for one in lanes if one["lost"]}
        assert lost == {("spaces", "http")}

    _visit(tmp_path, body, busy=True)


MISSING = """
INSERT INTO probes BY NAME SELECT 1 AS declaration_no, 'p' AS probe_id, 'v' AS name,
    'enrolled' AS state, make_timestamp(0) AS recorded_at;
INSERT INTO batches SELECT 'p', 7, n, 1, make_timestamp(n * 1000000)
    FROM (VALUES (2), (3), (6), (9), (10)) AS held(n);
INSERT INTO batches VALUES ('whole', 7, 1, 1, make_timestamp(0));
INSERT INTO rejects SELECT make_timestamp(0), 'p', 7, n, 1, 'r' FROM (VALUES (7), (8)) AS r(n);
INSERT INTO restores VALUES (make_timestamp(5000000), make_timestamp(3000000), 0, 0, '')
"""


def test_reports_that_are_missing_are_told(tmp_path: Path) -> None:
    """By probe and boot, newest first; refused ones are none, and what a restore took says so."""

    async def body(session: aiohttp.ClientSession, store: Store) -> None:
        assert await _json(session, "/api/gaps") == []
        for text in MISSING.split(";"):
            await store.run_in_store(lambda con, text=text: con.execute(text).fetchall())
        found = await _json(session, "/api/gaps")
        assert [
            (o["vantage"], o["boot_id"], o["from_seq"], o["to_seq"], o["reports"]) for o in found
        ] == [("v", f"{7:016x}", 4, 5, 2), ("v", f"{7:016x}", 1, 1, 1)]
        assert [o["restored_us"] for o in found] == [5_000_000, None]
        assert [(o["after_us"], o["until_us"]) for o in found] == [
            (3_000_000, 6_000_000), (None, 2_000_000),
        ]  # fmt: skip
        assert len(await _json(session, "/api/gaps?limit=1")) == 1

    _visit(tmp_path, body, busy=False)


def test_metrics_and_health_are_for_machines(tmp_path: Path) -> None:
    """Prometheus finds counters with reasons; health is 200 while reports are taken."""

    async def body(session: aiohttp.ClientSession, store: Store) -> None:
        text = await _text(session, "/metrics")
        assert 'soundings_reports_rejected_total{reason="foreign check"} 1' in text.splitlines()
        on_record = await _json(session, "/api/verdicts/all?limit=10000")
        assert f"soundings_verdicts_total {len(on_record)}" in text.splitlines()
        assert "soundings_judging_lag_seconds 90" in text.splitlines()
        assert "soundings_probes 11" in text.splitlines()
        assert "soundings_probes_evicted_rows 1200" in text.splitlines()
        assert 'soundings_probes_covered{figure="evicted_rows"} 10' in text.splitlines()
        assert await _json(session, "/healthz") == {"ok": True}
        store.failure = "disk full"
        assert await _json(session, "/healthz", status=503) == {"ok": False, "trouble": "disk full"}
        assert "disk full" in await _text(session, "/")
        assert "soundings_store_trouble 1" in (await _text(session, "/metrics")).splitlines()
        store.failure = None

    _visit(tmp_path, body, busy=True)


def test_an_empty_store_is_a_page_as_well(tmp_path: Path) -> None:
    """Before the first row the page says that nothing was judged, and how to enrol a probe."""

    async def body(session: aiohttp.ClientSession, store: Store) -> None:
        page = await _text(session, "/")
        assert "Nothing has been judged yet" in page
        assert "None on record" in page
        assert "soundings coordinator token create" in page
        assert "&lt;X &amp; sons&gt;" in page
        assert await _json(session, "/api/verdicts") == []
        assert "soundings_judging_lag_seconds" not in await _text(session, "/metrics")

    _visit(tmp_path, body, busy=False, title="<X & sons>")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/nowhere", 404, "There is no /nowhere here"),
        ("/incident/%3Cscript%3E", 404, "no incident &lt;script&gt; here"),
        ("/api/incidents/none", 404, "/api/incidents lists them"),
        ("/api/nowhere", 404, "Not Found"),
        ("/api/verdicts?from=yesterday", 400, "from is 'yesterday'"),
        ("/api/verdicts?limit=0", 400, "limit is '0'; give 1 to 10000"),
        ("/?to=never", 400, "to is 'never'"),
    ],
)
def test_what_cannot_be_answered_is_said_with_its_fix(
    tmp_path: Path, path: str, status: int, says: str
) -> None:
    """A wrong address or value is a clear refusal, escaped, with every header."""

    async def body(session: aiohttp.ClientSession, store: Store) -> None:
        assert says in await _text(session, path, status=status)

    _visit(tmp_path, body, busy=False)


def test_a_question_that_fails_shows_nothing_of_its_insides(tmp_path: Path) -> None:
    """With the tables gone the page answers 500 in one sentence, and goes on."""

    async def body(session: aiohttp.ClientSession, store: Store) -> None:
        await store.run_in_store(lambda con: con.execute("DROP TABLE verdicts"))
        assert "the log says why" in await _text(session, "/", status=500)
        assert (await _json(session, "/api/verdicts", status=500))["error"]
        assert await _json(session, "/healthz") == {"ok": True}

    _visit(tmp_path, body, busy=False)


def test_an_occupied_port_is_named(tmp_path: Path) -> None:
    """The second page on one port is refused with the door, the address and the fix."""

    async def main() -> None:
        async with open_page(tmp_path) as (url, store):
            port = int(url.rpartition(":")[2])
            with pytest.raises(PortError, match=rf"coordinator.web: .*127.0.0.1:{port}"):
                async with serve(make_desk(store, Progress(), "X"), Address("127.0.0.1", port)):
                    raise AssertionError("the port was free")

    asyncio.run(main())
