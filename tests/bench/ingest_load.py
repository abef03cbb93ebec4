"""The fleet's side of the ingest bench: thousands of mutually authenticated sessions in one process.

It is started by `tests.bench.ingest` as a process of its own, says `connected` when every probe was
welcomed once, and then obeys lines on its standard input, each answered by one JSON object:

    start   begin to report
    mark    rows acknowledged since the last mark, and how long they took
    back    wait until every probe lost its session and has another; how long each was without
    stop    report no more, wait for what is owed, end
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc

from tests.bench.contract import percentile
from tests.bench.ingest_session import Run, Session, Tally

CONNECTING_MAX: Final = 64
"""First handshakes at a time: both ends of each are on this machine."""

DRAIN_S: Final = 20.0
BACK_S: Final = 240.0
"""Four times the longest wait between two attempts."""


async def _play(args: argparse.Namespace) -> None:
    fleet = json.loads(args.fleet.read_text())
    run = Run(
        address=args.address,
        rows=args.rows,
        period_s=args.period_s,
        tally=Tally(),
        base_s=args.backoff_base_s,
        cap_s=args.backoff_cap_s,
        gate=asyncio.Semaphore(CONNECTING_MAX),
    )
    ca, key = fleet["ca"].encode(), fleet["key"].encode()
    sessions = [
        Session(run, number, grpc.ssl_channel_credentials(ca, key, certificate.encode()))
        for number, certificate in enumerate(list(fleet["certificates"].values())[: args.probes])
    ]
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        lives = [group.create_task(session.live()) for session in sessions]
        async with run.welcomed:
            await run.welcomed.wait_for(lambda: all(session.greeted for session in sessions))
        _tell(welcomed=len(sessions), took_s=time.monotonic() - began_s)
        await _obey(run, len(sessions))
        patience = group.create_task(_give_up_late(sessions))
        await asyncio.gather(*lives)
        patience.cancel()
    tally = run.tally
    _tell(
        sent_rows=tally.sent_rows,
        acked_rows=tally.acked_rows,
        stalls=tally.stalls,
        attempts=tally.attempts,
        lost=tally.lost,
        failures=dict(tally.failures),
    )


async def _give_up_late(sessions: Sequence[Session]) -> None:
    await asyncio.sleep(DRAIN_S)
    for session in sessions:
        session.give_up()


async def _obey(run: Run, probes: int) -> None:
    marked = 0
    while (line := await asyncio.to_thread(sys.stdin.readline)).strip() != "stop":
        match line.strip():
            case "":
                raise EOFError("the bench is gone")
            case "back":
                await _tell_back(run, probes)
                continue
            case "start":
                run.started.set()
        latencies_s, run.tally.latencies_s = run.tally.latencies_s, []
        rows, marked = run.tally.acked_rows - marked, run.tally.acked_rows
        _tell(rows=rows, **_latencies(latencies_s))
    run.stopped.set()


async def _tell_back(run: Run, probes: int) -> None:
    tally = run.tally
    try:
        async with asyncio.timeout(BACK_S), run.welcomed:
            await run.welcomed.wait_for(lambda: len(tally.back_s) >= probes)
    except TimeoutError:
        pass  # the number says it
    _tell(
        back=len(tally.back_s), **{f"s_p{n}": percentile(tally.back_s, n / 100) for n in (50, 99)}
    )


def _latencies(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"ack_ms_p{n}": percentile(seconds, n / 100) * 1000 for n in (50, 99)}


def _tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    """Run the fleet as the command line says."""
    parser = argparse.ArgumentParser(description="Simulate a fleet of probes.")
    parser.add_argument("--fleet", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--probes", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--period-s", type=float, required=True)
    parser.add_argument("--backoff-base-s", type=float, required=True)
    parser.add_argument("--backoff-cap-s", type=float, required=True)
    asyncio.run(_play(parser.parse_args()))


if __name__ == "__main__":
    main()
