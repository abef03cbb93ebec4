"""The coordinator as a whole: start, configuration while it runs, services, and the operator."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from coordinator.app import wall_us
from coordinator.core.registry import Vantage
from coordinator.core.roster import full
from coordinator.core.settings import Address
from coordinator.exits import CoordinatorError, Exit
from coordinator.ports import explain_port
from coordinator.rpc.operator import NotRunningError, Operator
from coordinator.runtime import Runtime
from proto.gen import fleet_pb2
from proto.model import ConfigError, HostLimits
from tests.fakes.coordinators import CONFIG, a_coordinator
from tests.fakes.fleet_client import session

BAD = CONFIG.replace('url = "https', 'url = "ftp')

HIDE = "ALTER TABLE config_versions RENAME TO hidden"
SHOW = "ALTER TABLE hidden RENAME TO config_versions"


def test_a_bad_configuration_starts_nothing(tmp_path: Path) -> None:
    """Every finding is raised before a port is opened."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path, config=BAD):
            raise AssertionError("it started")

    with pytest.raises(ConfigError) as caught:
        asyncio.run(scenario())
    assert len(caught.value.findings) == 1


@pytest.mark.parametrize("key", ["fleet", "enrol"])
def test_an_occupied_port_is_named_with_its_holder(tmp_path: Path, key: str) -> None:
    """The error carries code 8, the key, the port, the program and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        config = CONFIG.replace(f'{key} = "127.0.0.1:0"', f'{key} = "127.0.0.1:{port}"')

        async def scenario() -> None:
            async with a_coordinator(tmp_path, config=config):
                raise AssertionError("it started")

        with pytest.raises(CoordinatorError) as caught:
            asyncio.run(scenario())
    assert caught.value.code is Exit.PORT_OCCUPIED
    assert str(caught.value).startswith(
        f"coordinator.{key}: cannot listen on 127.0.0.1:{port}: port {port} is held by "
    )


def test_a_bad_file_leaves_the_plan_in_force_and_says_so(tmp_path: Path) -> None:
    """It is recorded once as refused, and the next good text is the next version."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            configs = house.runtime.configs
            house.config_file.write_text(BAD, encoding="utf-8")
            assert not await configs.reload()
            assert not await configs.reload()
            house.config_file.write_text("not = [toml", encoding="utf-8")
            assert not await configs.reload()
            house.config_file.unlink()
            assert not await configs.reload()
            assert (configs.version, configs.config.services[0].components[0].url.scheme) == (
                1, "https",
            )  # fmt: skip
            house.config_file.write_text(CONFIG + "packets = 5\n", encoding="utf-8")
            assert await configs.reload()
            assert configs.version == 2
            rows = house.ask(
                "SELECT config_version, accepted, split_part(findings, ';', 1) "
                "FROM config_versions ORDER BY rowid"
            )
            file = house.config_file
            assert rows[0] == (1, True, None)
            assert rows[1] == (
                None,
                False,
                f'{file}: service[x].component[spaces].url is "ftp://spaces.x.test/live"',
            )
            assert rows[2][:2] == (None, False)
            assert rows[2][2].startswith(f"{file}: the file is not TOML: ")
            assert rows[3:] == [(2, True, None)]

    asyncio.run(scenario())


def test_a_changed_file_is_noticed_by_itself(tmp_path: Path) -> None:
    """Within its next look the new configuration is in force, without a signal."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            changed = asyncio.Event()
            house.runtime.configs.listen(lambda _: changed.set())
            house.config_file.write_text(CONFIG + "packets = 5\n", encoding="utf-8")
            async with asyncio.timeout(10):
                await changed.wait()
            assert house.runtime.configs.config.services[0].components[0].packets == 5

    asyncio.run(scenario())


def test_a_signal_reads_the_file_without_a_change_of_its_stamp(tmp_path: Path) -> None:
    """Asking is enough; the same text stays the same version."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            house.config_file.write_text(CONFIG + "packets = 5\n", encoding="utf-8")
            house.runtime.configs.ask()
            async with asyncio.timeout(10):
                while house.runtime.configs.version < 2:
                    await house.runtime.store.run_in_store(lambda _: None)
            assert await house.runtime.configs.reload()
            assert house.runtime.configs.version == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("text", [CONFIG + "packets = 5\n", BAD])
def test_a_reload_while_the_store_is_in_trouble_is_tried_again(tmp_path: Path, text: str) -> None:
    """The coordinator goes on with what is in force, and takes or refuses the file afterwards."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            store, configs = house.runtime.store, house.runtime.configs
            await store.run_in_store(lambda con: con.execute(HIDE).fetchall())
            house.config_file.write_text(text, encoding="utf-8")
            configs.ask()
            async with asyncio.timeout(20):
                while not configs._owed:
                    await store.run_in_store(lambda _: None)
            assert configs.version == 1
            await store.run_in_store(lambda con: con.execute(SHOW).fetchall())
            await house.until("SELECT count(*) FROM config_versions", [(2,)])
            assert configs.version == (1 if text == BAD else 2)

    asyncio.run(scenario())


def test_services_start_after_the_doors_and_stop_before_the_store(tmp_path: Path) -> None:
    """A service finds open doors and a working store for as long as it runs."""
    heard: list[str] = []

    @asynccontextmanager
    async def service(runtime: Runtime) -> AsyncIterator[Mapping[str, str]]:
        heard.append("fleet" if "fleet" in runtime.addresses else "no door")
        yield {"web": "127.0.0.1:1"}
        await runtime.store.run_in_store(lambda con: con.execute("SELECT 1").fetchall())
        heard.append("left")

    async def scenario() -> None:
        async with a_coordinator(tmp_path, services=(service,)) as house:
            assert house.runtime.addresses["web"] == "127.0.0.1:1"

    asyncio.run(scenario())
    assert heard == ["fleet", "left"]


def test_a_services_occupied_port_ends_like_any_other(tmp_path: Path) -> None:
    """The page's port is explained with the same code."""

    @asynccontextmanager
    async def service(_: Runtime) -> AsyncIterator[Mapping[str, str]]:
        raise explain_port(Address("203.0.113.77", 1), key="coordinator.web")
        yield {}

    async def scenario() -> None:
        async with a_coordinator(tmp_path, services=(service,)):
            raise AssertionError("it started")

    with pytest.raises(CoordinatorError, match=r"coordinator\.web: cannot listen") as caught:
        asyncio.run(scenario())
    assert caught.value.code is Exit.PORT_OCCUPIED


def test_the_operator_sees_and_changes_the_fleet(tmp_path: Path) -> None:
    """Token, list, quarantine and its lifting over the socket; bad wishes are said as such."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            assert await house.operator.list_probes() == []
            probe = await house.probe(provider="hoster", labels={"tier": "vps"})
            (row,) = await house.operator.list_probes()
            assert (row["probe_id"], row["state"], row["asn"], row["country"]) == (
                probe.probe_id, "enrolled", 64512, "DE",
            )  # fmt: skip
            assert (row["labels"], row["clock_offset_us"]) == ({"tier": "vps"}, None)
            said = await house.operator.quarantine(
                probe.probe_id, lift=False, reason="odd times", by="ann"
            )
            assert said.endswith("is quarantined")
            assert house.ask("SELECT list(state ORDER BY rowid) FROM probes") == [
                (["enrolled", "quarantined"],)
            ]
            said = await house.operator.quarantine(probe.probe_id, lift=True, reason="its clock")
            assert said.endswith("enrolled")
            why = "SELECT state, state_reason, state_by FROM probes ORDER BY rowid"
            assert house.ask(why) == [
                ("enrolled", None, None),
                ("quarantined", "odd times", "ann"),
                ("enrolled", "its clock", "operator"),
            ]
            (row,) = await house.operator.list_probes()
            assert "by operator" in full(row, now_us=wall_us())[2]
            with pytest.raises(CoordinatorError, match="--reason is missing"):
                await house.operator.quarantine(probe.probe_id, lift=False, reason=" ")
            with pytest.raises(CoordinatorError, match="no probe 'p0'"):
                await house.operator.revoke("p0")
            with pytest.raises(CoordinatorError, match="--country is 'de'"):
                await house.operator.create_token(name="", vantage=Vantage(country="de"), ttl_s=1)
        with pytest.raises(NotRunningError):
            await house.operator.list_probes()

    asyncio.run(scenario())


def test_the_list_shows_what_a_connected_probe_said(tmp_path: Path) -> None:
    """State, version, plan, clock and spool, as of its last message."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(version="0.1", backlog_rows=5, evicted_rows=2)
                ask = fleet_pb2.ClockAsk(t1_ns=1, offset_us=-40, error_us=700)
                await line.send(clock=ask)
                await line.receive(
                    "clock"
                )  # and no notice: a hello without a stamp has no wrong clock
                (row,) = await house.operator.list_probes()
                shown = ("state", "version", "clock_offset_us", "clock_error_us", "spool_rows")
                assert [row[key] for key in shown] == ["connected", "0.1", -40, 700, 5]
                assert row["evicted_rows"] == 2
                assert (row["rss_bytes"], row["overloaded_slots"]) == (None, None)
                beat = fleet_pb2.Heartbeat(
                    sent_at_us=wall_us(), spool_rows=6, spool_bytes=7, evicted_rows=8, cpu_ms=9,
                    queue_depth=10, lateness_us_p99=11, receive_drops=12, overloaded_slots=13,
                    clock_drift_ppb=-14, clock_synchronised=False, rss_bytes=15, uptime_ms=16,
                )  # fmt: skip
                await line.send(heartbeat=beat)
                await line.send(clock=ask)
                await line.receive("clock")
                (row,) = await house.operator.list_probes()
                figures = (
                    *("spool_rows", "spool_bytes", "evicted_rows", "queue_depth"),
                    *("lateness_us_p99", "receive_drops", "overloaded_slots", "clock_drift_ppb"),
                    *("clock_synchronised", "rss_bytes", "cpu_s", "uptime_s"),
                )
                shown = [row[name] for name in figures]
                assert shown == [6, 7, 8, 10, 11, 12, 13, -14, False, 15, 0.009, 0.016]
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(boot_id="another", sent_at_us=wall_us())
                (row,) = await house.operator.list_probes()
                assert {row[name] for name in figures[1:] if name != "evicted_rows"} == {None}

    asyncio.run(scenario())


def test_what_a_host_does_not_allow_of_its_plan_is_shown(tmp_path: Path) -> None:
    """Limits told in the hello are shown, with each thing of the plan that they refuse, and stored."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            limits = HostLimits(per_target_per_minute=1.5)
            async with session(house.fleet, probe.channel()) as line:
                told = fleet_pb2.HostLimits(**asdict(limits))
                welcome, _ = await line.hello(sent_at_us=wall_us(), limits=told)
                assert welcome.address == "127.0.0.1"
                (row,) = await house.operator.list_probes()
                assert row["limits"] == asdict(limits)
                (text,) = row["refused"]
                assert text.startswith("spaces.x.test is asked 8 times a minute and limits.per_")
                await house.until(
                    "SELECT limits.per_target_per_minute, address FROM sessions",
                    [(1.5, "127.0.0.1")],
                )
            async with session(house.fleet, probe.channel()) as line:
                told = fleet_pb2.HostLimits(**asdict(HostLimits()))
                await line.hello(sent_at_us=wall_us(), limits=told)
                (row,) = await house.operator.list_probes()
                assert row["refused"] == []

    asyncio.run(scenario())


def test_a_socket_that_nobody_listens_on_is_not_running(tmp_path: Path) -> None:
    """A ruin of a socket leads to the files, like none at all."""
    with socket.socket(socket.AF_UNIX) as ruin:
        ruin.bind(str(tmp_path / "admin.sock"))
    with pytest.raises(NotRunningError):
        asyncio.run(Operator(tmp_path / "admin.sock").list_probes())


def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The operator's door and the whole directory are closed to others."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            data = house.runtime.data_dir
            assert (data / "admin.sock").stat().st_mode & 0o777 == 0o600
            assert data.stat().st_mode & 0o777 == 0o700

    asyncio.run(scenario())


def test_a_path_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    """The system would cut it silently."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()

    async def scenario() -> None:
        async with a_coordinator(deep):
            raise AssertionError("it started")

    with pytest.raises(CoordinatorError, match="name a shorter --data"):
        asyncio.run(scenario())
