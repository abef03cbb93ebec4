"""The coordinator's own answerer: plain HTTP, a nonce for each contact, each on record before it is believed.

It shows nothing and asks nothing, so that it may stand where everybody reaches it. What it costs is
bounded: answers by address and in all, a request of a few kilobytes, a connection of some seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from coordinator.core.canary import NONCE_BYTES, Allowance, body_of, hash_of
from coordinator.core.networks import parse_address
from coordinator.core.settings import Address
from coordinator.ports import explain_port
from coordinator.runtime import Runtime
from coordinator.store.rows import CanaryRow

KEEPALIVE_S: Final = 5.0
"""A probe asks once and goes."""

LINE_BYTES_MAX: Final = 2048


class Canary:
    """Answers. `known` gives the addresses of connected probes; `record` writes an answer down."""

    def __init__(
        self,
        *,
        known: Callable[[], frozenset[str]],
        record: Callable[[CanaryRow], None],
        wall: Callable[[], int],
    ) -> None:
        self._known = known
        self._record = record
        self._wall = wall
        self._allowance = Allowance()

    async def answer(self, request: web.Request) -> web.Response:
        """A nonce that nobody had before; 429 where there were enough."""
        address = str(parse_address(request.remote or "") or request.remote)
        now_us = self._wall()
        headers = {"Cache-Control": "no-store"}
        if not self._allowance.take(address, known=self._known(), now_us=now_us):
            return web.Response(status=429, headers=headers)
        body = body_of(secrets.token_bytes(NONCE_BYTES))
        row = CanaryRow(answered_at_us=now_us, address=address, body_sha256=hash_of(body))
        self._record(row)
        return web.Response(body=body, content_type="text/plain", headers=headers)


@asynccontextmanager
async def answer_canaries(runtime: Runtime) -> AsyncIterator[Mapping[str, str]]:
    """Answer for as long as the coordinator runs, where the configuration at its start says so.

    Raises PortError when the address cannot be had.
    """
    settings = runtime.configs.config.canary
    if settings is None:
        yield {}
        return
    canary = Canary(known=lambda: _known(runtime), record=runtime.store.record, wall=runtime.wall)
    app = web.Application(handler_args={"max_line_size": LINE_BYTES_MAX})
    app.router.add_get("/{path:.*}", canary.answer)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE_S)
    await runner.setup()
    listen = settings.listen
    try:
        try:
            await web.TCPSite(runner, listen.name, listen.port).start()
        except OSError as error:
            raise explain_port(listen, key="canary.listen") from error
        yield {"canary": str(Address(listen.name, runner.addresses[0][1]))}
    finally:
        await runner.cleanup()


def _known(runtime: Runtime) -> frozenset[str]:
    seen = runtime.presence.seen.values()
    return frozenset(one.address for one in seen if one.connected and one.address is not None)
