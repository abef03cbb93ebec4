"""The door for people: binds, adds the headers that a page should never lack, stops with the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from coordinator.core.settings import Address
from coordinator.ports import explain_port
from coordinator.web import api, health, pages
from coordinator.web.api import DESK
from coordinator.web.desk import Desk

HEADERS: Final = {
    # Nothing is loaded but the style sheet beside the page; nothing runs, nothing is framed.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

CLOSE_S: Final = 1.0  # a page that is being sent may finish; nobody waits longer at the end


def application(desk: Desk) -> web.Application:
    """Every route over one desk."""
    app = web.Application(middlewares=[_guard])
    app[DESK] = desk
    app[pages.TEMPLATES] = pages.environment()
    for routes in (pages.routes, api.routes, health.routes):
        app.add_routes(routes)
    app.router.add_get("/style.css", _style)
    return app


async def _style(_: web.Request) -> web.Response:
    text = files("coordinator.web").joinpath("static/style.css").read_text(encoding="utf-8")
    return web.Response(text=text, content_type="text/css", headers={"Cache-Control": "max-age=60"})


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Headers on every answer; an error becomes a page (or JSON), and never shows its insides."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = _refusal(request, error.status, error.text or error.reason)
    except Exception as error:  # noqa: BLE001 the page must outlive a question that failed
        structlog.get_logger("web").exception("page_failed", path=request.path, error=str(error))
        response = _refusal(request, 500, "the store did not answer; the log says why")
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refusal(request: web.Request, status: int, text: str) -> web.Response:
    if request.path.startswith("/api/"):
        return api.reply({"error": text}, status=status)
    if status == 404:
        return pages.page(request, "missing.html", status=404, what=request.path)
    return web.Response(text=f"{status}: {text}\n", status=status)


@asynccontextmanager
async def serve(desk: Desk, address: Address) -> AsyncIterator[str]:
    """Serve the page at an address; yields HOST:PORT as bound.

    Raises:
        PortError: the address cannot be had, and why.
    """
    runner = web.AppRunner(application(desk), access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.name, address.port)
        try:
            await site.start()
        except OSError as error:
            raise explain_port(address, key="coordinator.web") from error
        port = runner.addresses[0][1]
        yield str(Address(address.name, port))
    finally:
        await runner.cleanup()
