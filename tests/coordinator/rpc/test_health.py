"""gRPC's own health and reflection: what the doors say of themselves to whoever asks the usual way."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)

from coordinator.rpc.doors import ADMIN, ENROLMENT, FLEET
from coordinator.store.rows import SessionRow
from tests.fakes.coordinators import House, a_coordinator
from tests.fakes.fleet_client import OPTIONS, enrol

ROOT = Path(__file__).resolve().parents[3]
Status = health_pb2.HealthCheckResponse
Ask = health_pb2.HealthCheckRequest
WITHIN_S = 20.0


@asynccontextmanager
async def channels(house: House) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """A channel to each door, by the name of its service."""
    probe = await house.probe()
    stranger = grpc.ssl_channel_credentials(house.ca)
    async with AsyncExitStack() as stack:
        made = {
            FLEET: grpc.aio.secure_channel(house.fleet, probe.channel(), OPTIONS),
            ENROLMENT: grpc.aio.secure_channel(house.enrol_door, stranger, OPTIONS),
            ADMIN: grpc.aio.insecure_channel(f"unix:{house.runtime.data_dir / 'admin.sock'}"),
        }
        yield {name: await stack.enter_async_context(one) for name, one in made.items()}


async def check(channel: grpc.aio.Channel, service: str = "") -> Any:
    """What a door says of itself now."""
    reply = await health_pb2_grpc.HealthStub(channel).Check(Ask(service=service), timeout=WITHIN_S)
    return reply.status


def watch(channel: grpc.aio.Channel, service: str = "") -> Any:
    """The call that goes on saying it."""
    return health_pb2_grpc.HealthStub(channel).Watch(Ask(service=service), timeout=WITHIN_S)


def test_every_door_tells_its_health_under_its_name(tmp_path: Path) -> None:
    """Each door serves as the server and as its own service, and knows no other."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house, channels(house) as doors:
            for name, channel in doors.items():
                assert [await check(channel), await check(channel, name)] == [Status.SERVING] * 2
                with pytest.raises(grpc.aio.AioRpcError, match="no service 'x' here") as caught:
                    await check(channel, "x")
                assert caught.value.code() is grpc.StatusCode.NOT_FOUND
                stub = health_pb2_grpc.HealthStub(channel)
                listed = await stub.List(health_pb2.HealthListRequest(), timeout=WITHIN_S)
                assert {key: one.status for key, one in listed.statuses.items()} == {
                    "": Status.SERVING,
                    name: Status.SERVING,
                }

    asyncio.run(scenario())


def test_a_store_in_trouble_is_told_by_every_door(tmp_path: Path) -> None:
    """Nobody serves while the store takes nothing, and everybody does as soon as it does again."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house, channels(house) as doors:
            store = house.runtime.store
            watched = watch(doors[FLEET], FLEET)
            assert (await watched.read()).status == Status.SERVING
            store.free_mark_bytes = 1 << 62  # more than any disk has free
            store.record(SessionRow(at_us=1, probe_id="p", what="silent", detail=None))
            assert (await watched.read()).status == Status.NOT_SERVING
            assert store.trouble is not None
            assert [await check(one) for one in doors.values()] == [Status.NOT_SERVING] * 3
            store.free_mark_bytes = 0
            assert (await watched.read()).status == Status.SERVING
            assert [await check(one) for one in doors.values()] == [Status.SERVING] * 3

    asyncio.run(scenario())


def test_who_watches_is_told_of_the_end_before_it_comes(tmp_path: Path) -> None:
    """A coordinator that drains says so at once on every watched door, and ends the call well."""

    async def scenario() -> None:
        async with AsyncExitStack() as outer:
            async with a_coordinator(tmp_path) as house:
                doors = await outer.enter_async_context(channels(house))
                watched = [watch(doors[FLEET]), watch(doors[ADMIN], ADMIN)]
                assert [(await one.read()).status for one in watched] == [Status.SERVING] * 2
            assert [(await one.read()).status for one in watched] == [Status.NOT_SERVING] * 2
            assert [await one.read() for one in watched] == [grpc.aio.EOF] * 2
            assert [await one.code() for one in watched] == [grpc.StatusCode.OK] * 2

    asyncio.run(scenario())


def test_what_is_not_here_is_watched_as_unknown(tmp_path: Path) -> None:
    """Watch of a foreign name says SERVICE_UNKNOWN and stays, as gRPC's protocol has it."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house, channels(house) as doors:
            watched = watch(doors[ADMIN], "x")
            assert (await watched.read()).status == Status.SERVICE_UNKNOWN
            assert not watched.done()

    asyncio.run(scenario())


def test_strangers_cannot_hold_the_enrolment_door_open(tmp_path: Path) -> None:
    """The door that asks nobody's name answers Check, and refuses the call that would stay."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house, channels(house) as doors:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch(doors[ENROLMENT]).read()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_any_client_operates_a_coordinator_by_reflection(tmp_path: Path) -> None:
    """Each `buf curl` of the operations page runs as shown, and the token it makes is a good one."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    commands = re.findall(r"^buf (curl .*)$", page, re.MULTILINE)

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            socket = str(house.runtime.data_dir / "admin.sock")
            said = []
            for command in commands:
                words = shlex.split(command.replace("data/admin.sock", socket))
                said.append(await asyncio.to_thread(run_buf, words))
            methods, health, token, probes = said
            assert f"{ADMIN}/Quarantine" in methods.splitlines()
            assert json.loads(health) == {"status": "SERVING"}
            await enrol(house.enrol_door, json.loads(token)["token"], house.ca)
            assert json.loads(probes) == {}
            listed = await asyncio.to_thread(run_buf, words)
            (probe,) = json.loads(listed)["probes"]
            assert (probe["name"], probe["vantage"]["asn"]) == ("berlin", 64500)

    asyncio.run(scenario())


def run_buf(words: list[str]) -> str:
    """What buf prints, which must succeed."""
    buf = Path(sys.executable).parent / "buf"
    return subprocess.run([buf, *words], capture_output=True, text=True, check=True).stdout


def test_the_operators_socket_describes_itself_and_no_other_door_does(tmp_path: Path) -> None:
    """Reflection names the services and hands out their files on the operator's socket alone."""
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=ADMIN),
    ]

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house, channels(house) as doors:
            stubs = {
                name: reflection_pb2_grpc.ServerReflectionStub(one) for name, one in doors.items()
            }
            call = stubs[ADMIN].ServerReflectionInfo(iter(questions), timeout=WITHIN_S)
            services, files = [reply async for reply in call]
            named = {one.name for one in services.list_services_response.service}
            assert named >= {ADMIN, "grpc.health.v1.Health"}
            assert not named & {FLEET, ENROLMENT}
            handed = files.file_descriptor_response.file_descriptor_proto
            names = {FileDescriptorProto.FromString(file).name for file in handed}
            assert "soundings/v1/admin.proto" in names
            for name in (FLEET, ENROLMENT):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stubs[name].ServerReflectionInfo(timeout=WITHIN_S).read()
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())
