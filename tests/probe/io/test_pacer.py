"""Acts due at an instant, on a virtual clock."""

from __future__ import annotations

from functools import partial

import trio
import trio.testing

from probe.io.pacer import Pacer


async def test_each_act_is_done_at_its_instant_in_the_order_of_instants(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An act asked for later and due earlier comes first; acts of one instant come as asked for."""
    pacer = Pacer()
    done: list[tuple[str, float]] = []

    def act(name: str) -> None:
        done.append((name, autojump_clock.current_time() - started))

    async with trio.open_nursery() as nursery:
        started = trio.current_time()
        pacer.at(started + 3, partial(act, "before the run"))
        nursery.start_soon(pacer.run)
        await trio.sleep(1)
        pacer.at(started + 2, partial(act, "earlier"))
        pacer.at(started + 3, partial(act, "of the same instant"))
        pacer.at(started, partial(act, "overdue"))
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert done == [
        ("overdue", 1),
        ("earlier", 2),
        ("before the run", 3),
        ("of the same instant", 3),
    ]


async def test_an_act_may_ask_for_the_next_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A chain of acts keeps its spacing, as the requests of a slot do."""
    pacer = Pacer()
    at: list[float] = []

    def act() -> None:
        at.append(autojump_clock.current_time())
        pacer.at(at[-1] + 0.5, act)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.run)
        pacer.at(1.0, act)
        await trio.sleep(2.25)
        nursery.cancel_scope.cancel()
    assert at == [1.0, 1.5, 2.0]


async def test_many_acts_of_one_instant_let_other_tasks_in_between() -> None:
    """A thousand sends at once must not keep the loop from reading replies."""
    pacer = Pacer()
    done: list[int] = []
    seen: set[int] = set()
    for number in range(1000):
        pacer.at(0.0, partial(done.append, number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.run)
        while len(done) < 1000:
            seen.add(len(done))
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert done == list(range(1000))
    assert len(seen) > 10
