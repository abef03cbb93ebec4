"""The canary as a real probe's http check meets it: what its row says is what was given, and no more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from coordinator.core.canary import GREETING
from coordinator.store.rows import CanaryRow
from coordinator.web.canary import Canary
from proto.model import Failure, Kind
from tests.fakes.web_checks import ask, web_check


@contextmanager
def a_canary(given: list[CanaryRow]) -> Iterator[int]:
    """A canary on loopback, in a thread of its own; what it gave is in `given`. Yields its port."""
    ready: list[int] = []
    up = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> web.AppRunner:
        app = web.Application()
        canary = Canary(known=lambda: frozenset({"127.0.0.1"}), record=given.append, wall=lambda: 1)
        app.router.add_get("/{path:.*}", canary.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.append(runner.addresses[0][1])
        return runner

    def live() -> None:
        runner = loop.run_until_complete(serve())
        up.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=live)
    thread.start()
    assert up.wait(20)
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def test_a_probe_reports_the_hash_of_what_it_was_given() -> None:
    """Each contact has its own answer, and the row's hash is that of the answer on record."""
    given: list[CanaryRow] = []
    with a_canary(given) as port:
        check = web_check(Kind.HTTP, port, expect_body=GREETING)
        rows = [(await ask(check)).result for _ in range(3)]
    assert [row.failure for row in rows] == [None] * 3
    assert [row.body_sha256 for row in rows] == [one.body_sha256 for one in given]
    assert len({one.body_sha256 for one in given}) == 3
    assert {one.address for one in given} == {"127.0.0.1"}


async def test_an_answer_that_is_refused_is_a_failure_and_no_lie() -> None:
    """Beyond its share a probe is told 429: its row fails, and says nothing that was never given."""
    given: list[CanaryRow] = []
    with a_canary(given) as port:
        check = web_check(Kind.HTTP, port, expect_body=GREETING)
        rows = [(await ask(check)).result for _ in range(31)]
    assert (rows[-1].failure, rows[-1].http_status) == (Failure.HTTP_STATUS, 429)
    assert len(given) == 30
