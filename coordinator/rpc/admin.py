"""The operator's door: a unix socket in the data directory, for whoever may read that directory.

With the coordinator stopped the same operations run on the files directly (coordinator.operations).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, fields
from typing import Any

import grpc
import structlog

from coordinator.core.networks import Place
from coordinator.core.oneoff import Request, RequestRefusedError
from coordinator.core.registry import FIGURES, Seen, Vantage
from coordinator.operations import Operations, ProbeFacts
from coordinator.rotation import Rotation, Standing
from coordinator.rpc.measuring import Measuring
from coordinator.rpc.requests import AuthorityError
from coordinator.rpc.tracing import TraceRefusedError, Tracing
from coordinator.rpc.upkeep import HeldError, Upkeep
from coordinator.store.readers import StoreUnavailableError
from coordinator.store.registry import RegistryError
from proto.gen import admin_pb2, admin_pb2_grpc, fleet_pb2
from proto.model import HostLimits, SoundingsError


class AdminDoor(admin_pb2_grpc.AdminServiceServicer):
    """The servicer of the unix socket."""

    def __init__(
        self,
        operations: Operations,
        tracing: Tracing,
        measuring: Measuring,
        upkeep: Upkeep,
        rotation: Rotation,
    ) -> None:
        self._operations = operations
        self._tracing = tracing
        self._measuring = measuring
        self._upkeep = upkeep
        self._rotation = rotation
        self._log = structlog.get_logger("operator")

    async def CreateToken(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.CreateTokenRequest, context: Any
    ) -> admin_pb2.CreateTokenResponse:
        """A new token; its text is in the reply and nowhere else."""
        try:
            text, token = await self._operations.create_token(
                name=request.name, vantage=vantage_from_wire(request.vantage), ttl_s=request.ttl_s
            )
        except SoundingsError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        self._log.info("token_created", vantage=token.name, expires_at_us=token.expires_at_us)
        return admin_pb2.CreateTokenResponse(
            token=text, name=token.name, expires_at_us=token.expires_at_us
        )

    async def ListProbes(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.ListProbesRequest, context: Any
    ) -> admin_pb2.ListProbesResponse:
        """Every probe with what it last said."""
        del request, context
        facts = await self._operations.list_probes()
        return admin_pb2.ListProbesResponse(probes=[facts_to_wire(fact) for fact in facts])

    async def Revoke(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.RevokeRequest, context: Any
    ) -> admin_pb2.RevokeResponse:
        """Refuse a probe from now on and end its session."""
        try:
            text = await self._operations.revoke(request.probe_id, by=request.by)
        except RegistryError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return admin_pb2.RevokeResponse(text=text)

    async def Quarantine(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.QuarantineRequest, context: Any
    ) -> admin_pb2.QuarantineResponse:
        """Lower a probe's weight, or lift that."""
        try:
            text = await self._operations.quarantine(
                request.probe_id, lift=request.lift, reason=request.reason, by=request.by
            )
        except RegistryError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return admin_pb2.QuarantineResponse(text=text)

    async def Trace(self, request: admin_pb2.TraceRequest, context: Any) -> admin_pb2.TraceResponse:  # noqa: N802  # the name of the call on the wire
        """Ask connected probes for a trace now."""
        try:
            text = self._tracing.request(
                request.service, request.component, names=request.probes, count=request.count
            )
        except TraceRefusedError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return admin_pb2.TraceResponse(text=text)

    async def Measure(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.MeasureRequest, context: Any
    ) -> AsyncIterator[admin_pb2.MeasureResponse]:
        """Have probes measure a URL once, and hand on their rows as they come."""
        asked = Request(
            url=request.url,
            kinds=tuple(request.kinds),
            families=tuple(request.families),
            probes=request.probes,
            asns=tuple(request.asns),
            countries=tuple(request.countries),
            labels=dict(request.labels),
        )
        try:
            async for reply in self._measuring.measure(asked):
                yield reply
        except RequestRefusedError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except StoreUnavailableError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    async def Hold(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.HoldRequest, context: Any
    ) -> AsyncIterator[admin_pb2.HoldResponse]:
        """Keep the files as they are while the call lasts."""
        del request
        try:
            async for reply in self._upkeep.hold():
                yield reply
        except HeldError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except StoreUnavailableError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    async def Reload(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.ReloadRequest, context: Any
    ) -> admin_pb2.ReloadResponse:
        """Read the configuration file now, and say what is wrong with it."""
        try:
            return await self._upkeep.reload(request.by)
        except StoreUnavailableError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            raise

    async def ListConfigs(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.ListConfigsRequest, context: Any
    ) -> admin_pb2.ListConfigsResponse:
        """Configurations that were read."""
        try:
            return await self._upkeep.list_configs(
                request.version if request.HasField("version") else None
            )
        except StoreUnavailableError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            raise

    async def RotateAuthority(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.RotateAuthorityRequest, context: Any
    ) -> admin_pb2.RotateAuthorityResponse:
        """A new CA beside the old one."""
        del request
        try:
            state = await self._rotation.rotate()
        except (AuthorityError, OSError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return admin_pb2.RotateAuthorityResponse(state=state_to_wire(state))

    async def RetireAuthority(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.RetireAuthorityRequest, context: Any
    ) -> admin_pb2.RetireAuthorityResponse:
        """The end of the old CA."""
        try:
            state = await self._rotation.retire(force=request.force)
        except (AuthorityError, OSError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return admin_pb2.RetireAuthorityResponse(state=state_to_wire(state))

    async def ShowAuthority(  # noqa: N802  # the name of the call on the wire
        self, request: admin_pb2.ShowAuthorityRequest, context: Any
    ) -> admin_pb2.ShowAuthorityResponse:
        """How a change of CA stands."""
        del request, context
        return admin_pb2.ShowAuthorityResponse(state=state_to_wire(self._rotation.standing()))


def state_to_wire(standing: Standing) -> admin_pb2.AuthorityState:
    """How a change of CA stands."""
    return admin_pb2.AuthorityState(
        key_sha256=standing.key_sha256,
        began_at_us=standing.began_at_us,
        previous_key_sha256=standing.previous_key_sha256,
        behind=[probe.name for probe in standing.behind],
        open_tokens=standing.open_tokens,
    )


def state_from_wire(state: admin_pb2.AuthorityState) -> dict[str, Any]:
    """The same as the command prints it; None = no change is under way."""
    previous = state.previous_key_sha256.hex() if state.HasField("previous_key_sha256") else None
    return {
        "key_sha256": state.key_sha256.hex(),
        "began_at_us": state.began_at_us,
        "previous_key_sha256": previous,
        "behind": list(state.behind),
        "open_tokens": state.open_tokens,
    }


def vantage_from_wire(message: admin_pb2.Vantage) -> Vantage:
    """What an operator declared; unset fields are None."""
    return Vantage(
        asn=message.asn if message.HasField("asn") else None,
        country=message.country if message.HasField("country") else None,
        provider=message.provider if message.HasField("provider") else None,
        labels=dict(message.labels),
    )


def vantage_to_wire(vantage: Vantage) -> admin_pb2.Vantage:
    """The inverse."""
    return admin_pb2.Vantage(
        asn=vantage.asn,
        country=vantage.country,
        provider=vantage.provider,
        labels=dict(vantage.labels),
    )


def facts_to_wire(facts: ProbeFacts) -> admin_pb2.ProbeRow:
    """A probe with what it last said; what it did not say is not set."""
    probe, seen = facts.probe, facts.seen
    row = admin_pb2.ProbeRow(
        probe_id=probe.probe_id,
        name=probe.name,
        vantage=vantage_to_wire(probe.vantage),
        state=facts.state,
        declared=vantage_to_wire(probe.declared),
        seen=_place_to_wire(probe.seen or Place()),
        asn_source=probe.asn_source,
        country_source=probe.country_source,
        refused=facts.refused,
    )
    if probe.decision is not None:
        row.state_reason, row.state_by = probe.decision.reason, probe.decision.by
        row.state_at_us = probe.decision.at_us
    if seen is not None:
        _add_seen(row, seen)
    return row


def _place_to_wire(place: Place) -> admin_pb2.Vantage:
    return admin_pb2.Vantage(asn=place.asn, country=place.country, provider=place.holder)


def _add_seen(row: admin_pb2.ProbeRow, seen: Seen) -> None:
    row.families.extend(seen.families)
    row.capabilities.extend(seen.capabilities)
    if seen.limits is not None:
        row.limits.CopyFrom(fleet_pb2.HostLimits(**asdict(seen.limits)))
    for name in FIGURES:
        value = getattr(seen, name)
        if value is not None:
            setattr(row, name, value)


def _limits_from_wire(limits: fleet_pb2.HostLimits) -> dict[str, float]:
    return {field.name: getattr(limits, field.name) for field in fields(HostLimits)}


def facts_from_wire(row: admin_pb2.ProbeRow) -> dict[str, Any]:
    """A row as the command prints it; None = the probe did not say, or not since the start."""
    vantage = vantage_from_wire(row.vantage)
    declared, seen = vantage_from_wire(row.declared), vantage_from_wire(row.seen)
    return {
        "probe_id": row.probe_id,
        "name": row.name,
        "state": row.state,
        "asn": vantage.asn,
        "country": vantage.country,
        "provider": vantage.provider,
        "labels": dict(vantage.labels),
        "asn_source": row.asn_source or None,
        "country_source": row.country_source or None,
        "declared_asn": declared.asn,
        "declared_country": declared.country,
        "seen_asn": seen.asn,
        "seen_country": seen.country,
        "seen_holder": seen.provider,
        "state_reason": row.state_reason or None,
        "state_by": row.state_by or None,
        "state_at_us": row.state_at_us if row.HasField("state_at_us") else None,
        "families": list(row.families),
        "capabilities": list(row.capabilities),
        "limits": _limits_from_wire(row.limits) if row.HasField("limits") else None,
        "refused": list(row.refused),
        **{name: getattr(row, name) if row.HasField(name) else None for name in FIGURES},
    }
