"""What a session still has to say: in order, bounded, and cumulative where it may be."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coordinator.rpc.budget import Budget, BudgetSpentError
from coordinator.rpc.outbox import MESSAGES_MAX, Ending, Outbox
from proto.gen import fleet_pb2

OVER = Ending(grpc.StatusCode.UNAVAILABLE, "over")


def notice(text: str) -> fleet_pb2.Down:
    """A message that can be told apart."""
    return fleet_pb2.Down(notice=fleet_pb2.Notice(text=text))


async def said(outbox: Outbox) -> list[str]:
    """Everything it says until its end."""
    return [str(message.WhichOneof("message")) async for message in outbox.messages()]


def test_waiting_acknowledgements_of_an_epoch_are_one() -> None:
    """The newest replaces the one before it; another epoch, or a message between, stays."""

    async def scenario() -> None:
        outbox = Outbox()
        for epoch, seq in ((1, 1), (1, 3), (1, 2), (2, 1)):
            outbox.acknowledge(epoch, seq)
        outbox.put(notice("n"))
        outbox.acknowledge(2, 2)
        outbox.end(OVER)
        acks = [
            (message.ack.epoch, message.ack.seq)
            async for message in outbox.messages()
            if message.WhichOneof("message") == "ack"
        ]
        assert acks == [(1, 3), (2, 1), (2, 2)]

    asyncio.run(scenario())


def test_the_first_reason_for_the_end_holds_and_what_was_queued_is_said() -> None:
    """An end does not cut off what was owed before it, and is announced once."""

    async def scenario() -> None:
        outbox = Outbox()
        ends: list[int] = []
        outbox.on_end = lambda: ends.append(1)
        outbox.put(notice("a"))
        outbox.end(OVER)
        outbox.end(Ending(grpc.StatusCode.ABORTED, "later"))
        assert await said(outbox) == ["notice"]
        assert (outbox.ending, ends) == (OVER, [1])

    asyncio.run(scenario())


def test_a_peer_that_does_not_read_is_ended() -> None:
    """Messages that wait are bounded."""

    async def scenario() -> None:
        outbox = Outbox()
        for _ in range(MESSAGES_MAX + 1):
            outbox.put(notice("x"))
        assert outbox.ending is not None
        assert outbox.ending.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(await said(outbox)) == MESSAGES_MAX

    asyncio.run(scenario())


def test_a_budget_lets_in_one_after_the_other() -> None:
    """Who waits gets in in order, one give-back may let in several, and the last may overdraw."""

    async def scenario() -> None:
        budget = Budget(10)
        await budget.take(12)
        assert budget.left_bytes == -2
        order: list[int] = []

        async def ask(number: int, size: int) -> None:
            await budget.take(size)
            order.append(number)

        waiting = [asyncio.create_task(ask(i, 4)) for i in range(3)]
        await asyncio.wait(waiting, timeout=0.01)
        assert order == []
        budget.give_back(12)
        await asyncio.gather(*waiting)
        assert (order, budget.left_bytes) == ([0, 1, 2], -2)

    asyncio.run(scenario())


def test_waiting_for_budget_ends() -> None:
    """Who gets none in time is told so, and its place in the queue is free."""

    async def scenario() -> None:
        budget = Budget(1)
        await budget.take(1)
        with pytest.raises(BudgetSpentError):
            await budget.take(1, wait_s=0.01)
        budget.give_back(1)
        await budget.take(1, wait_s=0.01)
        assert budget.left_bytes == 0

    asyncio.run(scenario())
