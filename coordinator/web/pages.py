"""The pages: what a person sees. Handlers gather, templates show; nothing is decided here."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import jinja2
from aiohttp import web

from coordinator.store import serving
from coordinator.web import words
from coordinator.web.api import DESK, LANE_STEPS, axis_of
from coordinator.web.desk import Desk
from coordinator.web.lanes import HEIGHT, Axis, Strip, strips

TEMPLATES: Final = web.AppKey("templates", jinja2.Environment)

RELOAD_S_MIN: Final = 5  # a page on a wall reloads once per bin, but not faster than one can read

INCIDENTS_SHOWN: Final = 20

routes = web.RouteTableDef()


def environment() -> jinja2.Environment:
    """Templates that escape everything."""
    loader = jinja2.PackageLoader("coordinator.web", "templates")
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(
        level_text=words.level_text,
        level_mark=words.level_mark,
        percent=words.percent,
        stamp=words.stamp,
        interval=words.interval,
        span=words.span,
        certainty=words.certainty,
        clock_us=words.stamp_us,
    )
    made.globals.update(
        ago=words.ago,
        differs_text=words.differs_text,
        load_text=words.load_text,
        offset_text=words.offset_text,
        probe_state=words.probe_state,
        spool_text=words.spool_text,
        use_text=words.use_text,
    )
    return made


def page(request: web.Request, template: str, *, status: int = 200, **shown: Any) -> web.Response:
    """Render a template with what every page needs."""
    desk = request.app[DESK]
    common = {"name": desk.name(), "now_us": desk.wall(), "now": words.stamp_us(desk.wall())}
    text = request.app[TEMPLATES].get_template(template).render(common | shown)
    return web.Response(text=text, content_type="text/html", status=status)


@routes.get("/")
async def status(request: web.Request) -> web.Response:
    """The sentence of each service, incidents, lanes, the fleet."""
    desk = request.app[DESK]
    axis = axis_of(request, desk)
    shown = await desk.ask(partial(_status, desk=desk, axis=axis))
    pinned = "to" in request.query or "still" in request.query
    reload_s = None if pinned else max(RELOAD_S_MIN, desk.bin_s())
    return page(request, "status.html", **shown, axis=axis, height=HEIGHT, reload_s=reload_s)


def _status(cursor: Any, *, desk: Desk, axis: Axis) -> dict[str, Any]:
    now_us = desk.wall()
    verdicts = serving.newest_verdicts(cursor, now_us=now_us)
    records = serving.lanes(cursor, from_us=axis.from_us, to_us=axis.to_us, step_us=axis.step_us)
    found = strips(records, axis)
    titles = desk.titles()
    return {
        "services": [_service(name, title, verdicts, found) for name, title in titles.items()],
        "controls": [strip for strip in found if strip.service not in titles],
        "incidents": serving.incidents(
            cursor, asked=serving.Asked(limit=INCIDENTS_SHOWN), with_support=False
        ),
        "fleet": serving.fleet(cursor, now_us=now_us),
        "progress": desk.progress,
        "trouble": desk.trouble(),
        "steps": LANE_STEPS,
    }


def _service(
    name: str, title: str, verdicts: list[serving.Record], found: tuple[Strip, ...]
) -> dict[str, Any]:
    """A service with its own verdict, and each of its components with verdict and lanes."""
    own = {v["component"]: v for v in verdicts if v["service"] == name}
    lanes = {strip.component: strip for strip in found if strip.service == name}
    parts = [
        {"name": part, "verdict": own.get(part), "strip": lanes.get(part)}
        for part in sorted({*lanes, *own} - {None}, key=lambda p: (p not in own, p))
    ]
    return {"name": name, "title": title, "verdict": own.get(None), "parts": parts}


@routes.get("/incident/{id}")
async def incident(request: web.Request) -> web.Response:
    """One incident, as a verdict reads: what, for whom, who is fine, what cannot be known."""
    desk = request.app[DESK]
    name = request.match_info["id"]
    question = partial(serving.incidents, incident_id=name, newest_only=False)
    revisions = await desk.ask(question)
    if not revisions:
        return page(request, "missing.html", status=404, what=f"incident {name}")
    return page(request, "incident.html", incident=revisions[0], revisions=revisions)
