"""What the doors of probes share: they are bound together, and somebody looks after who stands there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from coordinator.datadir import DataDir
from coordinator.exits import CoordinatorError, Exit
from coordinator.ports import PortError
from coordinator.rpc.doors import ENROLMENT, FLEET, Server, ServerIdentity, bind, bind_socket
from coordinator.rpc.guard import Guard
from coordinator.rpc.porter import Porter
from coordinator.runtime import Runtime


def guard_of(runtime: Runtime) -> Guard:
    """The guard of a coordinator's doors."""
    porter = Porter(
        runtime.refusals,
        wall=runtime.wall,
        per_source_max=lambda: runtime.configs.config.limits.strangers_per_source,
    )
    runtime.porter = porter
    return Guard(refusals=runtime.refusals, porter=porter, wall=runtime.wall)


def bind_all(
    servers: tuple[Server, Server, Server],
    identity: ServerIdentity,
    porter: Porter,
    *,
    data: DataDir,
    runtime: Runtime,
) -> None:
    """Fleet, enrolment and operator, in this order. Raises CoordinatorError: a port cannot be had."""
    doors = runtime.configs.config.doors
    wanted = (("fleet", doors.fleet, True), ("enrol", doors.enrol, False))
    try:
        for server, (door, address, mutual) in zip(servers[:2], wanted, strict=True):
            credentials = identity.credentials(door, mutual=mutual)
            bound = bind(server, address, credentials, door=door)
            runtime.addresses[door] = str(bound)
            porter.watch(door, bound.port)
        bind_socket(servers[2], data.admin)
    except PortError as error:
        raise CoordinatorError(str(error), code=Exit.PORT_OCCUPIED) from error


def answered(porter: Porter) -> Callable[[str, str], None]:
    """Tells the porter which service answered which peer what anybody may ask."""
    doors = {FLEET: "fleet", ENROLMENT: "enrol"}
    return lambda service, peer: porter.answer(doors[service], peer) if service in doors else None


async def look_after_strangers(porter: Porter, *, every_s: float) -> None:
    """Look, for ever, where there is something to see."""
    while True:
        await asyncio.sleep(every_s)
        if porter.has_news():
            porter.tell(await asyncio.to_thread(porter.look))
