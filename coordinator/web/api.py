"""The JSON behind every view. Names of fields are those of the store and of a verdict's JSON.

`GET /api/verdicts` gives the newest revision of each window, `/api/verdicts/all` every revision;
both take `service`, `component` (empty = the whole service), `from`, `to` (ISO 8601, UTC) and
`limit`. `/api/incidents` takes `service`, `component`, `limit`; `/api/incidents/<id>` gives every
revision of one. `/api/gaps` takes `limit`; `/api/probes`,
`/api/lanes`, `/api/ingest` take nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from coordinator.store import serving
from coordinator.web.desk import Desk
from coordinator.web.lanes import Axis
from coordinator.web.words import parse_stamp

DESK: Final = web.AppKey("desk", Desk)

LIMIT_MAX: Final = 10_000  # some 30 MB of JSON; whoever wants more asks SQL
LIMIT_DEFAULT: Final = 500

LANE_STEPS: Final = 90  # what fits on a phone and still shows single steps

routes = web.RouteTableDef()


def reply(value: object, *, status: int = 200) -> web.Response:
    """A JSON answer, readable as it is."""
    return web.json_response(value, status=status, dumps=partial(json.dumps, ensure_ascii=False))


def asked_of(request: web.Request, *, newest_only: bool) -> serving.Asked:
    """What the query string asks for.

    Raises:
        web.HTTPBadRequest: a value that cannot be, named with its fix.
    """
    query = request.query
    return serving.Asked(
        service=query.get("service"),
        component=query.get("component"),
        from_us=_read(query.get("from"), "from", parse_stamp),
        to_us=_read(query.get("to"), "to", parse_stamp),
        newest_only=newest_only,
        limit=_read(query.get("limit"), "limit", _limit) or LIMIT_DEFAULT,
    )


def _read(text: str | None, name: str, parse: Callable[[str], int]) -> int | None:
    try:
        return None if text is None else parse(text)
    except (ValueError, OverflowError) as error:
        fix = f"give 1 to {LIMIT_MAX}" if name == "limit" else "give a stamp like 2026-01-01T00:00Z"
        raise web.HTTPBadRequest(text=f"{name} is {text!r}; {fix}") from error


def _limit(text: str) -> int:
    limit = int(text)
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(text)
    return limit


def axis_of(request: web.Request, desk: Desk) -> Axis:
    """The span of time a page shows: the last `LANE_STEPS` bins, or those before `to`."""
    to_us = _read(request.query.get("to"), "to", parse_stamp) or desk.wall()
    step_us = desk.bin_s() * 1_000_000
    end_us = to_us - to_us % step_us + step_us
    return Axis(from_us=end_us - LANE_STEPS * step_us, to_us=end_us, step_us=step_us)


@routes.get("/api/verdicts")
async def verdicts(request: web.Request) -> web.Response:
    """Newest revision of each window, newest window first."""
    asked = asked_of(request, newest_only=True)
    return reply(await request.app[DESK].ask(partial(serving.verdicts, asked=asked)))


@routes.get("/api/verdicts/all")
async def all_verdicts(request: web.Request) -> web.Response:
    """Every revision of each window, in the order they were made."""
    asked = asked_of(request, newest_only=False)
    return reply(await request.app[DESK].ask(partial(serving.verdicts, asked=asked)))


@routes.get("/api/incidents")
async def incidents(request: web.Request) -> web.Response:
    """Newest revision of each incident, open ones first."""
    asked = asked_of(request, newest_only=True)
    question = partial(serving.incidents, asked=asked, with_support=False)
    return reply(await request.app[DESK].ask(question))


@routes.get("/api/incidents/{id}")
async def incident(request: web.Request) -> web.Response:
    """Every revision of one incident, newest first."""
    name = request.match_info["id"]
    question = partial(serving.incidents, incident_id=name, newest_only=False)
    found = await request.app[DESK].ask(question)
    if not found:
        return reply({"error": f"no incident {name!r}; /api/incidents lists them"}, status=404)
    return reply(found)


@routes.get("/api/probes")
async def probes(request: web.Request) -> web.Response:
    """The fleet with what each probe last said of itself."""
    desk = request.app[DESK]
    return reply(await desk.ask(partial(serving.fleet, now_us=desk.wall())))


@routes.get("/api/gaps")
async def gaps(request: web.Request) -> web.Response:
    """Reports that are missing between two that are here."""
    limit = _read(request.query.get("limit"), "limit", _limit) or LIMIT_DEFAULT
    return reply(await request.app[DESK].ask(partial(serving.gaps, limit=limit)))


@routes.get("/api/lanes")
async def lanes(request: web.Request) -> web.Response:
    """Attempts and losses per component, kind and bin of the last bins."""
    desk = request.app[DESK]
    axis = axis_of(request, desk)
    question = partial(serving.lanes, from_us=axis.from_us, to_us=axis.to_us, step_us=axis.step_us)
    return reply(await desk.ask(question))


@routes.get("/api/ingest")
async def ingest(request: web.Request) -> web.Response:
    """What was taken in: since the start of this process, and over all time by the tables."""
    desk = request.app[DESK]
    return reply(await desk.ask(partial(_ingest, desk=desk)))


def _ingest(cursor: Any, *, desk: Desk) -> dict[str, Any]:
    counts = desk.counts()
    progress = desk.progress
    return {
        "accepted": counts.accepted,
        "committed": counts.committed,
        "duplicate": counts.duplicate,
        "rejected": counts.rejected,
        "deferred": counts.deferred,
        "rows": counts.rows,
        "sessions": desk.sessions(),
        "trouble": desk.trouble(),
        "on_record": serving.committed(cursor),
        "rejected_by_reason": {row["reason"]: row["reports"] for row in serving.rejects(cursor)},
        "judging": {
            "windows": progress.windows,
            "verdicts": progress.verdicts,
            "revisions": progress.revisions,
            "changed": progress.changed,
            "failures": progress.failures,
            "backlog": progress.backlog,
            "judged_to_us": progress.judged_to_us,
            "last_error": progress.last_error,
        },
    }
