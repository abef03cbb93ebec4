"""The coordinator, wired: everything is opened in one order and closed in the reverse.

Nothing is decided here. Parts that judge and show are services (coordinator.runtime): they are
entered after the probes' doors are bound and left before the store closes.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from analysis.store import SchemaError
from coordinator.census import Census
from coordinator.configs import Configs, load_config
from coordinator.core.registry import Probe, ProbeState
from coordinator.core.settings import Config
from coordinator.datadir import DataDir, hold
from coordinator.entrances import answered, bind_all, guard_of, look_after_strangers
from coordinator.exits import CoordinatorError, Exit
from coordinator.networks import NetworkFiles, network_files
from coordinator.notify import keep_alive, notifier, watchdog_s
from coordinator.operations import Operations
from coordinator.ports import PortError
from coordinator.presence import Presence
from coordinator.refusals import Refusals
from coordinator.rotation import Rotation
from coordinator.rpc.admin import AdminDoor
from coordinator.rpc.authority import as_datetime, open_authority
from coordinator.rpc.budget import Budget
from coordinator.rpc.desk import Desk
from coordinator.rpc.doors import (
    Patience,
    Server,
    ServerIdentity,
    serve_admin,
    serve_enrolment,
    serve_fleet,
    stop_all,
)
from coordinator.rpc.doubting import Doubting
from coordinator.rpc.enrolment import EnrolmentDoor
from coordinator.rpc.fleet import FleetDoor
from coordinator.rpc.guard import Guard
from coordinator.rpc.health import Standing
from coordinator.rpc.measuring import Measuring
from coordinator.rpc.plans import Plans
from coordinator.rpc.porter import Porter
from coordinator.rpc.requests import AuthorityError
from coordinator.rpc.tracing import Tracing
from coordinator.rpc.upkeep import Upkeep
from coordinator.runtime import Runtime, Service
from coordinator.store.catalogue import abilities, record_probes
from coordinator.store.commit import Faults
from coordinator.store.open import StoreOpenError
from coordinator.store.registry import Registry
from coordinator.store.writer import Store
from coordinator.whereabouts import Whereabouts

DRAIN_S_MAX: Final = 5.0
"""How long sessions may take to be told what they are owed; systemd waits much longer."""

LOOK_S: Final = 1.0
"""How often sessions are looked at for silence, and the store for a commit that does not end."""


def wall_us() -> int:
    """The wall clock: microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a coordinator is started with. `faults`, `make_store`, `spread` and `patience` are for drills."""

    config_file: Path
    data_dir: Path
    services: Sequence[Service] = ()
    wall: Callable[[], int] = wall_us
    faults: Faults = field(default_factory=Faults)
    make_store: Callable[..., Store] = Store
    spread: Callable[[], float] = random.random  # where within its bounds a wait of probes lies
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)


@asynccontextmanager
async def coordinator(launch: Launch) -> AsyncIterator[Runtime]:
    """A running coordinator, from ready to drained.

    Raises:
        CoordinatorError: the data directory or a port cannot be used.
        ConfigError: every finding in the configuration file.
    """
    log = structlog.get_logger("coordinator")
    # Before anything is made: a bad file leaves no data directory behind.
    load_config(launch.config_file, loaded_at_us=launch.wall())
    async with AsyncExitStack() as stack:
        data = stack.enter_context(hold(launch.data_dir))
        runtime = await _open_stores(stack, data, launch)
        fleet = await _open_doors(stack, data, runtime, launch)
        start = await stack.enter_async_context(_loops())
        start(runtime.configs.watch())
        start(runtime.networks.watch())
        start(fleet.whereabouts.watch())
        start(_watch(fleet.door, runtime.store))
        start(fleet.rotation.watch())
        start(look_after_strangers(fleet.porter, every_s=launch.patience.look_ms / 1000))
        start(fleet.plans.record())
        start(fleet.plans.watch(fleet.door.push_plans))
        stack.push_async_callback(fleet.plans.flush)
        for service in launch.services:
            runtime.addresses.update(await stack.enter_async_context(_entered(service, runtime)))
        notify = notifier(launch.environment)
        every_s = watchdog_s(launch.environment)
        if every_s is not None:
            start(keep_alive(notify, every_s=every_s, is_well=runtime.store.is_alive))
        notify("READY=1")
        log.info("ready", **runtime.addresses)
        try:
            yield runtime
        finally:
            notify("STOPPING=1")
            log.info("stopping", sessions=runtime.presence.connected)
            await _drain(fleet)


@asynccontextmanager
async def _entered(service: Service, runtime: Runtime) -> AsyncIterator[Mapping[str, str]]:
    try:
        async with service(runtime) as doors:
            yield doors
    except PortError as error:
        raise CoordinatorError(str(error), code=Exit.PORT_OCCUPIED) from error


# --- stores -------------------------------------------------------------------------------------


async def _open_stores(stack: AsyncExitStack, data: DataDir, launch: Launch) -> Runtime:
    wall = launch.wall
    try:
        authority = open_authority(data.authority, now=as_datetime(wall()))
        registry = Registry(data.registry, wall=wall)
        stack.callback(registry.close)
        store = launch.make_store(
            data.store,
            free_bytes=lambda: shutil.disk_usage(data.path).free,
            faults=launch.faults,
        )
    except (AuthorityError, StoreOpenError, SchemaError, OSError) as error:
        raise CoordinatorError(str(error), code=Exit.DATA_UNUSABLE) from error
    store.start()
    stack.push_async_callback(store.stop)
    configs = Configs(launch.config_file, store, wall=wall)
    await configs.start()
    _follow_limits(store, configs)
    networks = NetworkFiles(
        lambda: network_files(launch.config_file, configs.config), store, wall=wall
    )
    configs.listen(lambda _: networks.look())
    await networks.start()
    registry.follow(configs.config.networks.sources)
    await store.run_in_store(
        partial(record_probes, probes=registry.probes(), recorded_at_us=wall())
    )
    return Runtime(
        data_dir=data.path,
        wall=wall,
        store=store,
        registry=registry,
        authority=authority,
        configs=configs,
        presence=Presence(),
        networks=networks,
        refusals=Refusals(wall),
    )


def _follow_limits(store: Store, configs: Configs) -> None:
    def apply(config: Config) -> None:
        store.free_mark_bytes = config.limits.free_mib << 20

    apply(configs.config)
    configs.listen(lambda catalogue: apply(catalogue.config))


# --- doors --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fleet:
    door: FleetDoor
    plans: Plans
    whereabouts: Whereabouts
    porter: Porter
    rotation: Rotation
    servers: tuple[Server, ...]


async def _open_doors(
    stack: AsyncExitStack, data: DataDir, runtime: Runtime, launch: Launch
) -> _Fleet:
    configs, authority = runtime.configs, runtime.authority
    remembered = await runtime.store.run_in_store(abilities)
    census = Census(runtime.registry, runtime.presence, remembered=remembered, wall=runtime.wall)
    plans = Plans(authority, runtime.store, fleet=census)
    await plans.start(configs.catalogue)
    whereabouts = _locate(runtime, plans)
    guard = guard_of(runtime)
    desk = Desk(
        store=runtime.store,
        plans=plans,
        presence=runtime.presence,
        budget=Budget(configs.config.limits.queue_mib << 20),
        guard=guard,
        wall=runtime.wall,
        spread=launch.spread,
        locate=whereabouts.note,
    )
    door = FleetDoor(
        desk,
        runtime.registry,
        authority,
        limits=lambda: configs.config.limits,
        hello_s=launch.patience.hello_ms / 1000,
    )
    tracing = Tracing(desk, door)
    measuring = Measuring(
        desk, door, candidate=census.candidate, config=lambda: runtime.configs.config
    )
    door.saw_failure_runs = tracing.saw_failure_runs
    runtime.heard = Doubting(
        desk, door, measuring, tracing, candidate=census.candidate, config=lambda: configs.config
    ).hear
    identity, rotation = _identify(runtime, guard, door)
    configs.listen(plans.renew)
    configs.listen(lambda _: door.push_plans())
    configs.listen(lambda catalogue: identity.rename(server_names(catalogue.config)))
    standing = Standing(
        door.draining, trouble=lambda: runtime.store.trouble, answered=answered(guard.porter)
    )
    servers = (
        serve_fleet(door, standing, launch.patience),
        serve_enrolment(_enrolment(runtime, plans, guard), standing, launch.patience),
        serve_admin(
            AdminDoor(
                _operations(runtime, door, plans), tracing, measuring, _upkeep(runtime), rotation
            ),
            standing,
        ),
    )
    bind_all(servers, identity, guard.porter, data=data, runtime=runtime)
    stack.push_async_callback(stop_all, servers, grace_s=0.5)
    for server in servers:
        await server.start()
    return _Fleet(door, plans, whereabouts, guard.porter, rotation, servers)


def _identify(runtime: Runtime, guard: Guard, door: FleetDoor) -> tuple[ServerIdentity, Rotation]:
    """Who the coordinator is to probes, and how that changes."""
    identity = ServerIdentity(
        runtime.authority,
        server_names(runtime.configs.config),
        now=lambda: as_datetime(runtime.wall()),
        knock=guard.porter.knock,
    )
    rotation = Rotation(
        runtime.authority,
        runtime.registry,
        wall=runtime.wall,
        changed=identity.renew,
        cut=partial(door.cut, reason="the CA of this probe's certificate was retired"),
    )
    return identity, rotation


def _locate(runtime: Runtime, plans: Plans) -> Whereabouts:
    async def moved(probe: Probe) -> None:
        plans.look_again()
        await _record_probe(runtime, probe)

    whereabouts = Whereabouts(
        runtime.registry, runtime.presence, find=runtime.networks.find, moved=moved
    )
    runtime.networks.listen(whereabouts.look_again)
    runtime.configs.listen(lambda cat: whereabouts.follow(cat.config.networks.sources))
    return whereabouts


def server_names(config: Config) -> tuple[str, ...]:
    """Every name that the server certificate carries beside its own."""
    bound = (config.doors.fleet.name, config.doors.enrol.name)
    wildcards = {"0.0.0.0", "::"}
    return (*config.doors.names, *(name for name in bound if name not in wildcards))


def _enrolment(runtime: Runtime, plans: Plans, guard: Guard) -> EnrolmentDoor:
    async def welcome(probe: Probe) -> None:
        plans.look_again()
        await _record_probe(runtime, probe)

    def endpoints() -> list[str]:
        port = runtime.addresses["fleet"].rpartition(":")[2]
        return [f":{port}"]

    return EnrolmentDoor(
        runtime.registry,
        runtime.authority,
        wall=runtime.wall,
        fleet_endpoints=endpoints,
        welcome=welcome,
        guard=guard,
    )


def _operations(runtime: Runtime, door: FleetDoor, plans: Plans) -> Operations:
    log = structlog.get_logger("operator")

    async def changed(probe: Probe) -> None:
        log.info(
            "probe_state_set", probe_id=probe.probe_id, vantage=probe.name, state=probe.state.value
        )
        if probe.state is ProbeState.REVOKED:
            door.cut(probe.probe_id, reason="this probe was revoked")
            plans.forget(probe.probe_id, at_us=runtime.wall())
        plans.look_again()
        await _record_probe(runtime, probe)

    runtime.changed = changed
    return Operations(
        runtime.registry,
        ca_key_sha256=lambda: runtime.authority.key_sha256,
        seen=lambda: runtime.presence.seen,
        changed=changed,
        refused=plans.refused,
    )


def _upkeep(runtime: Runtime) -> Upkeep:
    return Upkeep(runtime.store, runtime.registry, runtime.configs, wall=runtime.wall)


async def _record_probe(runtime: Runtime, probe: Probe) -> None:
    await runtime.store.run_in_store(
        partial(record_probes, probes=(probe,), recorded_at_us=runtime.wall())
    )


# --- the end ------------------------------------------------------------------------------------


async def _drain(fleet: _Fleet) -> None:
    """Take nothing new, commit and acknowledge what was taken, send the probes away."""
    fleet.door.drain()
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S_MAX):
            await fleet.door.wait_empty()


async def _watch(door: FleetDoor, store: Store) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        door.end_silent()
        store.look_for_stall()


@asynccontextmanager
async def _loops() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Starts loops that run until the coordinator ends; one that fails ends it."""
    tasks: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as group:
            try:
                yield lambda loop: tasks.append(group.create_task(loop))
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as several:
        if len(several.exceptions) > 1:
            raise
        raise several.exceptions[0] from None  # so that who waits for it recognises it
