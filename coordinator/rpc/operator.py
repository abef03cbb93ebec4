"""The operator's side of the admin socket: the same operations, asked of a running coordinator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from coordinator.core.registry import Vantage
from coordinator.exits import CoordinatorError, Exit
from coordinator.rpc.admin import facts_from_wire, vantage_to_wire
from proto.gen import admin_pb2, admin_pb2_grpc

REPLY_WITHIN_S = 10.0
"""A local socket answers at once; a coordinator that does not is stuck."""


class NotRunningError(Exception):
    """Nobody answers at the socket: work on the files instead."""


class Operator:
    """Calls on the admin socket of one data directory."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def create_token(self, *, name: str, vantage: Vantage, ttl_s: int) -> dict[str, Any]:
        """A token as {token, name, expires_at_us}."""
        request = admin_pb2.CreateTokenRequest(
            name=name, vantage=vantage_to_wire(vantage), ttl_s=ttl_s
        )
        reply = await self._ask("CreateToken", request)
        return {"token": reply.token, "name": reply.name, "expires_at_us": reply.expires_at_us}

    async def list_probes(self) -> list[dict[str, Any]]:
        """Every probe as the command prints it."""
        reply = await self._ask("ListProbes", admin_pb2.ListProbesRequest())
        return [facts_from_wire(row) for row in reply.probes]

    async def revoke(self, probe_id: str) -> str:
        """What was done, in a sentence."""
        reply = await self._ask("Revoke", admin_pb2.RevokeRequest(probe_id=probe_id))
        return str(reply.text)

    async def quarantine(self, probe_id: str, *, lift: bool) -> str:
        """What was done, in a sentence."""
        request = admin_pb2.QuarantineRequest(probe_id=probe_id, lift=lift)
        return str((await self._ask("Quarantine", request)).text)

    async def trace(self, service: str, component: str, *, names: list[str], count: int) -> str:
        """Who was asked, in a sentence."""
        request = admin_pb2.TraceRequest(
            service=service, component=component, probes=names, count=count
        )
        return str((await self._ask("Trace", request)).text)

    async def measure(self, request: admin_pb2.MeasureRequest) -> AsyncIterator[Any]:
        """What AdminService.Measure answers, as it comes."""
        if not self._socket.is_socket():
            raise NotRunningError
        async with grpc.aio.insecure_channel(f"unix:{self._socket}") as channel:
            with _told():
                async for reply in admin_pb2_grpc.AdminServiceStub(channel).Measure(request):
                    yield reply

    async def _ask(self, call: str, request: Any) -> Any:
        """Raises NotRunningError, or CoordinatorError with what the coordinator said."""
        if not self._socket.is_socket():
            raise NotRunningError
        async with grpc.aio.insecure_channel(f"unix:{self._socket}") as channel:
            with _told():
                stub = admin_pb2_grpc.AdminServiceStub(channel)
                return await getattr(stub, call)(request, timeout=REPLY_WITHIN_S)


@contextmanager
def _told() -> Iterator[None]:
    """What the coordinator says of a call that failed, as this program says it."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            raise NotRunningError from error
        code = Exit.USAGE if error.code() in _ASKED_WRONGLY else Exit.DATA_UNUSABLE
        raise CoordinatorError(error.details() or error.code().name, code=code) from error


_ASKED_WRONGLY = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND}
