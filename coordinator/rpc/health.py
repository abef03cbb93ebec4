"""gRPC's own health service (grpc.health.v1), as each door tells it.

Load balancers, orchestrators and clients ask it the same way of every gRPC server. The answer is that of
`/healthz`: SERVING while reports are taken. Nothing is stored and kept up to date: each answer is made
when it is asked for, so none is stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

WATCH_LOOK_S: Final = 1.0
"""How often a watched state is looked at. That the coordinator stops is told at once."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What health is made of: `draining` is set as the coordinator stops, `trouble` says why the store
    takes nothing, or None. `answered` hears which service told it to which peer.
    """

    draining: asyncio.Event
    trouble: Callable[[], str | None]
    answered: Callable[[str, str], None]

    def status(self) -> int:
        """SERVING while reports are taken."""
        serving = not self.draining.is_set() and self.trouble() is None
        status = health_pb2.HealthCheckResponse
        return status.SERVING if serving else status.NOT_SERVING  # type: ignore[no-any-return]


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # its base is untyped
    """Says it of one door's service, and of the server (the empty name).

    Where anybody may knock, `watchable` is False: strangers' open streams would use up the door's calls.
    Clients take the missing call for "does not say" and go on, as gRPC's health protocol has it.
    """

    def __init__(self, service: str, standing: Standing, *, watchable: bool = True) -> None:
        self._known = ("", service)
        self._standing = standing
        self._watchable = watchable

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # the name of the call on the wire
        """The state now."""
        self._standing.answered(self._known[1], context.peer())
        if request.service not in self._known:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here")
        return health_pb2.HealthCheckResponse(status=self._standing.status())

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802  # the name of the call on the wire
        """The state now, by name."""
        del request
        self._standing.answered(self._known[1], context.peer())
        state = health_pb2.HealthCheckResponse(status=self._standing.status())
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._known, state))

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # the name of the call on the wire
        """The state now and at every change, until the coordinator stops."""
        if not self._watchable:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this door answers Check alone")
        self._standing.answered(self._known[1], context.peer())
        said, ending = None, False
        while not ending:
            ending = self._standing.draining.is_set()
            unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            status = self._standing.status() if request.service in self._known else unknown
            if status != said:
                yield health_pb2.HealthCheckResponse(status=status)
                said = status
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_LOOK_S):
                    await self._standing.draining.wait()
