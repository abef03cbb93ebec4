"""Some simulated probes of the durability drill in one process, to be killed at any instant.

Run as `python -m tests.bench.torture_probes SEED RATE STATE...`. Each has the probe's own outbox,
spool, session and uplink; only its measuring is made up (`torture_facts.row_of`). It says `up`, and
obeys one word on standard input: `drain` makes no more rows, waits until every spool is empty and
answers with one JSON object. A killed process that is started again goes on with the slots of now.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from proto.model import Kind
from tests.bench.torture_facts import STEP_US, LedgerSpool, row_of
from tests.fakes.vantage import Vantage

TICK_S: Final = 0.05
DRAIN_LOOK_S: Final = 0.1


def main(argv: Sequence[str]) -> None:
    """Until killed or drained."""
    seed, rate, *states = argv
    structlog.configure(
        processors=[structlog.processors.LogfmtRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    trio.run(_live, int(seed), float(rate), [Path(state) for state in states])


async def _live(seed: int, rate: float, states: list[Path]) -> None:
    vantages = [Simulated(state, flush_s=0.2, flush_rows=200) for state in states]
    async with trio.open_nursery() as nursery:
        for vantage in vantages:
            vantage.plans.restore()
            await nursery.start(vantage.run)
        print("up", flush=True)
        async with trio.open_nursery() as measuring:
            for vantage in vantages:
                measuring.start_soon(_measure, seed, rate, vantage)
            await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            measuring.cancel_scope.cancel()
        for vantage in vantages:
            await _drain(vantage)
        evicted = sum(vantage.outbox.evicted_rows for vantage in vantages)
        print(json.dumps({"evicted_rows": evicted}), flush=True)
        nursery.cancel_scope.cancel()


class Simulated(Vantage):
    """One that keeps a ledger of its spool, and paces itself as one of many on a small machine."""

    backoff_s = (0.1, 0.5)
    heartbeat_s = 2.0

    def make_spool(self, *given: Any, **named: Any) -> LedgerSpool:
        """The probe's spool with a ledger beside it."""
        return LedgerSpool(*given, ledger=self.state.path / "ledger", **named)


async def _measure(seed: int, rate: float, vantage: Vantage) -> None:
    """A row for every slot that passes, `rate` rows a second, over the checks of the plan."""
    probe_id = vantage.state.identity().endpoint.probe_id
    every = max(1, round(1e6 / STEP_US / rate))
    slot = vantage.clocks.wall() // STEP_US
    while True:
        await trio.sleep(TICK_S)
        scheduled = [c for c in vantage.plans.plan.checks if c.kind in {Kind.TCP, Kind.HTTP}]
        last = vantage.clocks.wall() // STEP_US
        for one in range(slot + 1, last + 1):
            if scheduled and one % every == 0:
                check = scheduled[one // every % len(scheduled)]
                vantage.outbox.add(row_of(seed, probe_id, check.check_no, one * STEP_US))
        slot = last


async def _drain(vantage: Vantage) -> None:
    """Until the coordinator has everything; who waits for it has a deadline."""
    await vantage.outbox.flush()
    while vantage.outbox.rows:  # noqa: ASYNC110  # the spool tells nobody when it is empty
        await trio.sleep(DRAIN_LOOK_S)


if __name__ == "__main__":
    main(sys.argv[1:])
