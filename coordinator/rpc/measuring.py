"""One measurement on request: chosen probes are asked at once, and their rows are handed on as they come.

The rows are rows like any other, spooled, committed and marked `trigger = request`; nothing is judged
of them. What is handed on was read from the store: whoever prints it prints what can be asked for again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog

from coordinator.core.assigning import Candidate
from coordinator.core.oneoff import (
    Allowance,
    Request,
    choose,
    config_again,
    config_of,
    definitions_of,
    plan_of,
)
from coordinator.core.planner import Definition
from coordinator.core.registry import Probe
from coordinator.core.settings import Component, Config
from coordinator.rpc.desk import Desk
from coordinator.rpc.fleet import FleetDoor
from coordinator.store.catalogue import accept_once
from coordinator.store.rows import OPERATOR, RequestRow
from coordinator.store.statements import statement
from proto.gen import admin_pb2
from proto.model import Plan

LOOK_S: Final = 0.2
"""Between two looks for rows: a commit takes about as long."""

GRACE_S: Final = 10.0
"""What a row may take beside its check's timeout: a name to resolve, a spool, a commit."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was sent to whom: every (probe, check) owes one row."""

    component: Component
    definitions: tuple[Definition, ...]
    probes: dict[str, Probe]
    since_us: int

    def owed(self) -> set[tuple[str, int]]:
        return {(who, one.check.check_no) for who in self.probes for one in self.definitions}


class Measuring:
    """Asks and waits. Used on the event loop only."""

    def __init__(
        self,
        desk: Desk,
        door: FleetDoor,
        *,
        candidate: Callable[[Probe], Candidate],
        config: Callable[[], Config],
    ) -> None:
        self._desk = desk
        self._door = door
        self._candidate = candidate
        self._config = config
        self._allowance = Allowance()
        self._number = 0
        self._log = structlog.get_logger("measuring")

    async def measure(self, request: Request) -> AsyncIterator[admin_pb2.MeasureResponse]:
        """Whom it asked, then each row, then who owes one still.

        Raises RequestRefusedError, with the option, its value and the fix, before anything is asked.
        """
        asked = await self._ask(request)
        yield admin_pb2.MeasureResponse(
            asked=admin_pb2.MeasureAsked(
                probes=len(asked.probes),
                checks=len(asked.definitions),
                component=asked.component.name,
            )
        )
        owed = asked.owed()
        deadline = asyncio.get_running_loop().time() + asked.component.timeout_s + GRACE_S
        while owed and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_S)
            for row in await asyncio.to_thread(self._rows, asked):
                key = (row["probe_id"], row["check_no"])
                if key in owed:
                    owed.discard(key)
                    yield admin_pb2.MeasureResponse(row=json.dumps(row, default=_utc))
        missing = sorted({asked.probes[probe_id].name for probe_id, _ in owed})
        yield admin_pb2.MeasureResponse(missing=admin_pb2.MeasureMissing(probes=missing))

    async def ask_again(
        self, component: Component, probe_ids: tuple[str, ...], *, why: str, ceiling: float
    ) -> None:
        """Have probes that do not measure a component of the configuration measure it once.

        Raises RequestRefusedError where that is more than its host may be asked.
        """
        config = config_again(self._config(), component, token=secrets.token_hex(4))
        await self._order(config, probe_ids, why=why, ceiling=ceiling, about=component)

    async def _ask(self, request: Request) -> _Asked:
        config = config_of(request, token=secrets.token_hex(4))
        present = {probe.probe_id: probe for probe in self._door.connected()}
        chosen = choose(config, map(self._candidate, present.values()), probes=request.probes)
        ceiling = self._config().limits.fleet_per_target_per_minute
        component = config.services[0].components[0]
        now_us = self._desk.wall()
        definitions = await self._order(
            config, chosen, why=OPERATOR, ceiling=ceiling, about=component
        )
        self._log.info(
            "measurement_asked",
            url=request.url,
            component=component.name,
            probes=len(chosen),
            checks=len(definitions),
        )
        return _Asked(component, definitions, {one: present[one] for one in chosen}, now_us)

    async def _order(
        self,
        config: Config,
        chosen: tuple[str, ...],
        *,
        why: str,
        ceiling: float,
        about: Component,
    ) -> tuple[Definition, ...]:
        """Count, number and send the checks of a configuration of one component."""
        now_us = self._desk.wall()
        self._allowance.take(config, probes=len(chosen), ceiling=ceiling, now_us=now_us)
        definitions = await self._desk.store.run_in_store(
            partial(accept_once, define=partial(definitions_of, config))
        )
        self._number = max(self._number + 1, now_us)
        plan = plan_of(definitions, number=self._number, issued_at_us=now_us)
        self._send(plan, chosen)
        for probe_id in chosen:
            for check in plan.checks:
                row = RequestRow(
                    asked_at_us=now_us,
                    probe_id=probe_id,
                    check_no=check.check_no,
                    why=why,
                    service=about.service,
                    component=about.name,
                )
                self._desk.store.record(row)
        return definitions

    def _send(self, plan: Plan, probe_ids: Iterable[str]) -> None:
        check_nos = frozenset(check.check_no for check in plan.checks)
        for probe_id in probe_ids:
            self._desk.store.allow(probe_id, check_nos)
            is_old = self._door.is_old(probe_id)
            once = self._desk.plans.signed_once(plan, probe_id=probe_id, is_old=is_old)
            self._door.send(probe_id, once)

    def _rows(self, asked: _Asked) -> list[dict[str, Any]]:
        values = {"component": asked.component.name, "since_us": asked.since_us}
        with self._desk.store.cursor() as cursor:
            result = cursor.execute(statement("once_rows"), values)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _utc(value: datetime) -> str:
    """Stamps in the store are UTC without saying so."""
    return f"{value.isoformat()}Z"
