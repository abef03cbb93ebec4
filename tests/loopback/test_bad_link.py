"""Links that flap and links that die without a word, over real sockets."""

from __future__ import annotations

from pathlib import Path

import structlog
import trio

from tests.fakes.fleet import Coordinator
from tests.fakes.relay import Relay
from tests.fakes.vantage import Vantage, emptied, enrolled, numbers_of, online, seen

DEADLINE_S = 0.5
PATIENCE_S = 3.0
"""Far above that and the 0.2 s between two questions, for a busy machine; far below any keepalive of gRPC (15 s)."""


async def test_a_flapping_link_loses_and_doubles_nothing(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Every third report is committed and the session cut before its ack: all arrive, once each."""
    cut: set[int] = set()

    def cut_once(seq: int) -> bool:
        fresh = seq % 3 == 0 and seq not in cut
        cut.add(seq)
        return fresh

    coordinator.behaviour.cut = cut_once
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        for first in range(0, 300, 10):
            stored = vantage.outbox.changed
            vantage.add(range(first, first + 10))
            await stored.wait()
        await seen(coordinator, lambda s: len(s.rows) >= 300)
        await emptied(vantage)
    assert numbers_of(coordinator) == list(range(300))
    assert len(coordinator.seen.hellos) >= 4
    assert vantage.outbox.evicted_rows == 0


async def test_a_link_that_dies_in_silence_is_noticed_and_heals(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Nothing passes and nothing is closed: our own question ends it, and what waited arrives once."""
    async with trio.open_nursery() as nursery:
        relay: Relay = await nursery.start(Relay.run, coordinator.fleet_port)
        coordinator.behaviour.fleet_port = relay.port
        state = await trio.to_thread.run_sync(enrolled, tmp_path, coordinator)
        with structlog.testing.capture_logs() as logs:
            async with online(Vantage(state, reply_deadline_s=DEADLINE_S)) as vantage:
                vantage.add(range(20))
                await seen(coordinator, lambda s: len(s.rows) == 20)
                relay.fall_silent()
                vantage.add(range(20, 60))
                with trio.fail_after(PATIENCE_S):
                    await relay.accepted.wait()
                assert len(coordinator.seen.rows) == 20
                assert vantage.outbox.rows >= 40
                relay.heal()
                await seen(coordinator, lambda s: len(s.rows) >= 60)
                await emptied(vantage)
        nursery.cancel_scope.cancel()
    ended = [entry["cause"] for entry in logs if entry["event"] == "session_ended"]
    assert ended[0] == f"no answer to a clock question within {DEADLINE_S:g} s"
    assert numbers_of(coordinator) == list(range(60))
