"""Asks for more where judging is in doubt: vantages that do not measure yet, and ways from both sides.

It hears every verdict, decides in `coordinator.core.doubt`, and asks by the ways there are: one-off checks
and traces of the plan. Each is a row of `requests`, so that whoever reads the rows knows why they are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from analysis.core.verdict import Verdict
from coordinator.core.assigning import Candidate, rank, requests_per_minute
from coordinator.core.doubt import Ask, Doubts, Said, Voice, extra_voices, tracing_voices
from coordinator.core.oneoff import RequestRefusedError
from coordinator.core.registry import Probe, ProbeState
from coordinator.core.settings import Component, Config
from coordinator.rpc.desk import Desk
from coordinator.rpc.fleet import FleetDoor
from coordinator.rpc.measuring import Measuring
from coordinator.rpc.tracing import Tracing

EXTRA_MAX: Final = 6
"""Vantages that one round adds."""

TRACES_EACH: Final = 2
"""Traces from where it fails, and from where it works."""

FRESH_US: Final = 900 * 1_000_000
"""A window that ended longer ago is past: nothing measured now says anything of it."""


class Doubting:
    """Used on the event loop only."""

    def __init__(
        self,
        desk: Desk,
        door: FleetDoor,
        measuring: Measuring,
        tracing: Tracing,
        *,
        candidate: Callable[[Probe], Candidate],
        config: Callable[[], Config],
    ) -> None:
        self._desk = desk
        self._door = door
        self._measuring = measuring
        self._tracing = tracing
        self._candidate = candidate
        self._config = config
        self._doubts = Doubts()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("doubting")

    def hear(self, verdicts: Sequence[Verdict]) -> None:
        """Verdicts were written down; whatever they ask for is done in a task of its own."""
        if not self._config().ask_on_doubt:
            return
        now_us = self._desk.wall()
        said = (_said(one) for one in verdicts if one.component is not None)
        fresh = [one for one in said if now_us - one.to_us < FRESH_US]
        for ask in self._doubts.hear(fresh, now_us=now_us):
            task = asyncio.get_running_loop().create_task(self._ask(ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, ask: Ask) -> None:
        try:
            component = self._component(ask)
            if component is None:
                return
            good = await asyncio.to_thread(self._tracing.standings, ask.service, ask.component)
            voices = tuple(self._voices(ask, component, good))
            extra = await self._measure(ask, component, extra_voices(voices, count=EXTRA_MAX))
            tracing = tracing_voices(voices, each=TRACES_EACH)
            traces = self._tracing.ask(ask.service, ask.component, tracing, why=ask.why)
            self._log.info(
                "more_asked_for",
                service=ask.service,
                component=ask.component,
                why=ask.why,
                round=ask.round,
                extra=extra,
                traces=traces,
            )
        except Exception as error:  # noqa: BLE001  # whatever ails the store, the doubt remains
            self._log.warning("more_not_asked_for", component=ask.component, error=str(error)[:200])

    def _component(self, ask: Ask) -> Component | None:
        found = (
            one
            for one in self._config().components()
            if (one.service, one.name) == (ask.service, ask.component)
        )
        return next(found, None)

    def _voices(self, ask: Ask, component: Component, good: dict[str, bool]) -> Iterable[Voice]:
        """Connected and believed probes that have its families, in the order of their places."""
        present = {probe.probe_id: probe for probe in self._door.connected()}
        for one in rank(map(self._candidate, present.values())):
            if one.state is ProbeState.QUARANTINED or one.families.isdisjoint(component.families):
                continue
            planned = self._tracing.measures(present[one.probe_id], ask.service, ask.component)
            is_good = good.get(one.probe_id, False) if planned else None
            yield Voice(probe_id=one.probe_id, asn=one.vantage.asn, is_good=is_good)

    async def _measure(self, ask: Ask, component: Component, chosen: tuple[str, ...]) -> int:
        """Ask as many of them as the target's ceiling leaves room for; gives how many."""
        config = self._config()
        measuring = sum(
            self._tracing.measures(probe, ask.service, ask.component)
            for probe in self._door.connected()
        )
        load = requests_per_minute(config, component.url.host) * measuring
        left = config.limits.fleet_per_target_per_minute - load
        while chosen:
            try:
                await self._measuring.ask_again(component, chosen, why=ask.why, ceiling=left)
            except RequestRefusedError:
                chosen = chosen[: len(chosen) // 2]
            else:
                break
        return len(chosen)


def _said(verdict: Verdict) -> Said:
    assert verdict.component is not None, "whole services are asked about by their components"
    return Said(
        service=verdict.service,
        component=verdict.component,
        to_us=round(verdict.window_to.timestamp() * 1_000_000),
        verdict_class=verdict.verdict_class.value,
        probability=verdict.probability,
        reasons=verdict.reasons,
    )
