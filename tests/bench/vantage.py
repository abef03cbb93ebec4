"""A probe's measuring half in a process of its own: the real engine, toolbox, outbox and spool.

Only the link is missing, and the operator's limits are out of the way. It says `measuring` on
standard output when its warm-up is over, and writes what it found into its directory.

Under `Clock.USER` the two places where the kernel's times come in are stopped up, so that the probe
says what it would say on a kernel that has none: its own clock, read when the loop got there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from probe.core.outcome import Outcome, Start
from probe.engine import Engine, Runner
from probe.io import stamps, tcp, vitals
from probe.io.clock import Clocks, wall_us
from probe.io.disk import OsDisk, Spool
from probe.io.outbox import Outbox
from probe.settings import Settings
from probe.toolbox import Toolbox, ToolboxSettings, open_toolbox, ready, run_supported, unsupported
from proto.model import Certificate, Check, HostLimits, Result
from tests.bench.ground import BEHIND
from tests.bench.workload import Clock, Findings, Kept, Workload

FOUND: Final = "found.json"
TAIL_S: Final = 0.5
"""Goes on so long after the measured time, or its last slots would be stopped instead of run."""


class Vantage:
    """The wiring of probe.app without identity and link."""

    def __init__(self, box: Toolbox, spool: Spool, *, concurrent: int) -> None:
        self.rows: list[Kept] = []
        self.outbox = Outbox(spool)
        self.engine = Engine(
            "bench",
            clocks=Clocks(box.wall),
            limits=HostLimits(checks_per_s=1e6, per_target_per_minute=1e6, concurrent=concurrent),
            runner=Runner(run=self._run_check, unsupported=self._unsupported, ready=self._ready),
            keep=self._keep,
        )
        self._box = replace(box, may_contact=self.engine.may_contact)

    async def _run_check(self, check: Check, slot_at_us: int) -> Outcome:
        return await run_supported(check, self._box.at_slot(slot_at_us))

    def _ready(self, check: Check) -> Start | None:
        return ready(check, self._box)

    def _unsupported(self, check: Check) -> str | None:
        return unsupported(check, self._box)

    def _keep(self, row: Result, certificates: Sequence[Certificate]) -> None:
        self.rows.append(_kept(row))
        self.outbox.add(row, certificates)


async def measure(work: Workload) -> Findings:
    """Run the workload and return its rows."""
    settings = _settings(work)
    async with open_toolbox(settings, wall=wall_us()) as box:
        disk = OsDisk(Path(work.directory) / "spool")
        spool = Spool(disk, settings=Settings().spool, now_us=box.wall())
        vantage = Vantage(box, spool, concurrent=work.concurrent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vantage.outbox.run)
            nursery.start_soon(vantage.engine.run)
            vantage.engine.adopt(work.checks())
            vitals.spare_the_heap()
            await trio.sleep_until(trio.current_time() + work.warmup_s)
            print("measuring", flush=True)
            from_us, before_s = box.wall(), time.process_time()
            await trio.sleep_until(trio.current_time() + work.seconds)
            cpu_s = time.process_time() - before_s
            rss_bytes = vitals.rss_bytes() or 0
            await trio.sleep_until(trio.current_time() + TAIL_S)
            vantage.engine.stop()
            await vantage.outbox.flush()
            nursery.cancel_scope.cancel()
    return Findings(
        from_us=from_us,
        to_us=from_us + round(work.seconds * 1e6),
        cpu_s=cpu_s,
        rss_bytes=rss_bytes,
        kept=vantage.rows,
    )


def _settings(work: Workload) -> ToolboxSettings:
    settings = ToolboxSettings(allow_networks=(BEHIND,), ca_file=work.ca_file)
    if work.clock is Clock.KERNEL_BOTH:
        if "tx_stamps" not in {one.name for one in fields(ToolboxSettings)}:
            raise SystemExit("this probe has no stamps of sending")
        more: dict[str, Any] = {"tx_stamps": True}
        settings = replace(settings, **more)
    return settings


def _without_kernel() -> None:
    known = tcp.tcp_info
    setattr(stamps, "read_stamp", lambda _ancillary: None)  # noqa: B010 - a stopper, not an attribute
    setattr(tcp, "tcp_info", lambda sock: known(sock)._replace(rtt_us=None))  # noqa: B010


def _kept(row: Result) -> Kept:
    """A result as a tuple of plain values, which the collector of garbage need not walk through."""
    return (
        row.address,
        row.port,
        row.started_at_us,
        row.slot_at_us,
        None if row.failure is None else row.failure.value,
        None if row.reason is None else row.reason.value,
        row.validity.value,
        row.sent,
        row.rtt_us_min,
        row.first_byte_us,
        row.lateness_us,
        None if row.stamp_source is None else row.stamp_source.value,
    )


def main() -> None:
    """Run the workload that the first argument names."""
    work = Workload.from_json(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if work.clock is Clock.USER:
        _without_kernel()
    found = trio.run(measure, work)
    (Path(work.directory) / FOUND).write_text(json.dumps(found.as_json()), encoding="utf-8")


if __name__ == "__main__":
    main()
