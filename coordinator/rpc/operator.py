"""The operator's side of the admin socket: the same operations, asked of a running coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from coordinator.core.registry import Vantage
from coordinator.exits import CoordinatorError, Exit
from coordinator.rpc.admin import facts_from_wire, state_from_wire, vantage_to_wire
from proto.gen import admin_pb2, admin_pb2_grpc

REPLY_WITHIN_S = 10.0
"""A local socket answers at once; a coordinator that does not is stuck."""

OPTIONS = (("grpc.max_receive_message_length", 8 << 20),)
"""A configuration has 4 MiB at most."""

HOLD_WITHIN_S = 60.0
"""A checkpoint may have to write what the log holds, and waits for its turn."""


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

    async def revoke(self, probe_id: str, *, by: str = "") -> str:
        """What was done, in a sentence."""
        reply = await self._ask("Revoke", admin_pb2.RevokeRequest(probe_id=probe_id, by=by))
        return str(reply.text)

    async def quarantine(self, probe_id: str, *, lift: bool, reason: str, by: str = "") -> str:
        """What was done, in a sentence."""
        request = admin_pb2.QuarantineRequest(probe_id=probe_id, lift=lift, reason=reason, by=by)
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

    async def reload(self, by: str) -> dict[str, Any]:
        """{accepted, version, findings}, after the file was read."""
        reply = await self._ask("Reload", admin_pb2.ReloadRequest(by=by))
        return {
            "accepted": reply.accepted,
            "version": reply.version,
            "findings": list(reply.findings),
        }

    async def configs(self, version: int | None = None) -> tuple[list[dict[str, Any]], str]:
        """Configurations as coordinator.store.serving.configs has them, and the file that is read."""
        reply = await self._ask("ListConfigs", admin_pb2.ListConfigsRequest(version=version))
        return [
            {
                "version": row.version if row.HasField("version") else None,
                "loaded_at_us": row.loaded_at_us,
                "sha256": row.sha256,
                "loaded_by": row.loaded_by if row.HasField("loaded_by") else None,
                "findings": list(row.findings),
                "source": row.source,
            }
            for row in reply.configs
        ], str(reply.file)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[int]:
        """Since when (µs since 1970) the files stay as they are, for as long as the context lasts.

        Raises NotRunningError, or CoordinatorError when they cannot be held, or not to the end.
        """
        if not self._socket.is_socket():
            raise NotRunningError
        async with grpc.aio.insecure_channel(f"unix:{self._socket}") as channel:
            call = admin_pb2_grpc.AdminServiceStub(channel).Hold(admin_pb2.HoldRequest())
            try:
                yield await _held(call)
                if call.done():
                    raise CoordinatorError(
                        "the coordinator ended while its files were being copied; take the backup again",
                        code=Exit.DATA_UNUSABLE,
                    )
            finally:
                call.cancel()

    async def rotate_authority(self) -> dict[str, Any]:
        """How it stands then."""
        reply = await self._ask("RotateAuthority", admin_pb2.RotateAuthorityRequest())
        return state_from_wire(reply.state)

    async def retire_authority(self, *, force: bool) -> dict[str, Any]:
        """How it stands then."""
        request = admin_pb2.RetireAuthorityRequest(force=force)
        return state_from_wire((await self._ask("RetireAuthority", request)).state)

    async def show_authority(self) -> dict[str, Any]:
        """How a change of CA stands."""
        reply = await self._ask("ShowAuthority", admin_pb2.ShowAuthorityRequest())
        return state_from_wire(reply.state)

    async def _ask(self, call: str, request: Any) -> Any:
        """Raises NotRunningError, or CoordinatorError with what the coordinator said."""
        if not self._socket.is_socket():
            raise NotRunningError
        async with grpc.aio.insecure_channel(f"unix:{self._socket}", OPTIONS) as channel:
            with _told():
                stub = admin_pb2_grpc.AdminServiceStub(channel)
                return await getattr(stub, call)(request, timeout=REPLY_WITHIN_S)


async def _held(call: Any) -> int:
    """Since when, once the files are held."""
    try:
        with _told():
            reply = await asyncio.wait_for(call.read(), HOLD_WITHIN_S)
    except TimeoutError as error:
        raise CoordinatorError(
            f"the coordinator could not write its log into the file in {HOLD_WITHIN_S:g} s; its disk "
            "is too slow or stalled: try again later, or stop it first",
            code=Exit.DATA_UNUSABLE,
        ) from error
    return int(reply.held_at_us)


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
