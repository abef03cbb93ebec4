"""Acts due at an instant, on a virtual clock."""

from __future__ import annotations

from functools import partial

import trio
import trio.testing

from probe.io.pacer import Appointment, Pacer


async def test_each_act_is_done_at_its_instant_in_the_order_of_instants(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An act asked for later and due earlier comes first; acts of one instant come as asked for."""
    pacer, over = Pacer(), trio.Event()
    done: list[tuple[str, float]] = []
    started = trio.current_time()

    def act(name: str) -> None:
        done.append((name, round(autojump_clock.current_time() - started, 6)))

    def ask_for_more() -> None:
        pacer.at(started + 2, partial(act, "earlier"))
        pacer.at(started + 3, partial(act, "of the same instant"))
        pacer.at(started, partial(act, "overdue"))
        pacer.at(started + 4, over.set)

    async with trio.open_nursery() as nursery:
        pacer.at(started + 3, partial(act, "before the run"))
        pacer.at(started + 1, ask_for_more)
        nursery.start_soon(pacer.run)
        await over.wait()
        nursery.cancel_scope.cancel()
    assert done == [
        ("overdue", 1.0),
        ("earlier", 2.0),
        ("before the run", 3.0),
        ("of the same instant", 3.0),
    ]


async def test_an_act_may_ask_for_the_next_one(autojump_clock: trio.testing.MockClock) -> None:
    """A chain of acts keeps its spacing, as the requests of a slot do."""
    pacer, over = Pacer(), trio.Event()
    started = trio.current_time()
    after: list[float] = []

    def act() -> None:
        now = autojump_clock.current_time()
        after.append(round(now - started, 6))
        if len(after) == 3:
            over.set()
        else:
            pacer.at(now + 0.5, act)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.run)
        pacer.at(started + 1.0, act)
        await over.wait()
        nursery.cancel_scope.cancel()
    assert after == [1.0, 1.5, 2.0]


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


async def test_nobody_wakes_for_what_was_called_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is not done, neither before its instant nor in the batch that it was due in."""
    pacer, over = Pacer(), trio.Event()
    started = trio.current_time()
    done: list[str] = []
    first = pacer.at(started + 1, partial(done.append, "called off before"))
    later: list[Appointment] = []

    def call_off_the_next() -> None:
        later[0].call_off()

    pacer.at(started + 2, call_off_the_next)
    later.append(pacer.at(started + 2, partial(done.append, "called off in its batch")))
    pacer.at(started + 3, over.set)
    first.call_off()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.run)
        await over.wait()
        nursery.cancel_scope.cancel()
    assert (done, first.is_off) == ([], True)
