"""What real probes say of themselves, followed from their processes to everywhere it is shown."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest

from coordinator.core.roster import full
from coordinator.services import SERVICES
from proto.model import HostLimits
from soundings import VERSION
from tests.coordinator.test_end_to_end import enrolled, measuring
from tests.fakes.coordinators import a_coordinator
from tests.fakes.days import CONFIG, LIMITS, LOCAL, YES, Day, end_of_day, group_of, without_checks
from tests.fakes.sound import a_target
from tests.fakes.translators import OUTSIDE, a_translator

PAUSE_S: Final = 0.8
ONE_AT_A_TIME: Final = LIMITS + "concurrent = 1\n"


async def stopped(process: subprocess.Popen[bytes]) -> None:
    """Stop a process as a busy hypervisor does, for PAUSE_S."""
    process.send_signal(signal.SIGSTOP)
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(PAUSE_S, over.set)
    await over.wait()
    process.send_signal(signal.SIGCONT)


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    """Memory as the kernel tells it to others."""
    pages = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def translated(state: Path) -> AsyncIterator[None]:
    """Put a translator of addresses between an enrolled probe and its coordinator."""
    endpoint = json.loads((state / "endpoint.json").read_text(encoding="utf-8"))
    host, _, port = endpoint["fleet"][0].rpartition(":")
    async with a_translator(int(port)) as outside:
        changed = endpoint | {"fleet": [f"{host}:{outside}"]}
        (state / "endpoint.json").write_text(json.dumps(changed), encoding="utf-8")
        yield


async def a_busy_day(path: Path) -> tuple[Day, int]:
    """Twenty connections a second from a probe that is stopped for a moment; six pages a second,
    none of which ever comes, from one that may ask for one at a time. With the first one's memory.
    """
    calm, busy = path / "calm", path / "busy"
    with a_target() as port, socket.create_server((LOCAL, 0)) as mute:
        config = (
            CONFIG
            + group_of("calm", f"tcp://{LOCAL}:{port}", components=20)
            + group_of("busy", f"http://{LOCAL}:{mute.getsockname()[1]}/", components=6)
        )
        async with (
            a_coordinator(path, config=config, services=SERVICES) as house,
            AsyncExitStack() as stack,
        ):
            await asyncio.gather(
                enrolled(house, calm, toml=LIMITS, name="calm", labels={"is": "calm"}),
                enrolled(house, busy, toml=ONE_AT_A_TIME, name="busy", labels={"is": "busy"}),
            )
            await stack.enter_async_context(translated(busy))
            with measuring(calm) as process, measuring(busy):
                await house.until("SELECT count(*) > 20 FROM results WHERE vantage = 'calm'", YES)
                await stopped(process)
                await house.until("SELECT max(lateness_ms) > 300 FROM results", YES)
                await house.until("SELECT count(*) > 5 FROM results WHERE state = 'not_run'", YES)
                house.config_file.write_text(without_checks(config), encoding="utf-8")
                house.runtime.configs.ask()
                await house.until("SELECT count(*) FROM plans WHERE until_at IS NULL", [(0,)])
                mute.close()  # whoever waits for it is reset, and whoever waits for those gets a turn
                return await end_of_day(house), resident_bytes(process)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, int]:
    """The end of that day."""
    return asyncio.run(a_busy_day(tmp_path_factory.mktemp("busy")))


def test_slots_given_up_are_counted_as_often_as_they_have_rows(told: tuple[Day, int]) -> None:
    """Heartbeat, JSON, page, operator's list, metrics and the rows say the same number."""
    day, _ = told
    given_up = {name: day.reasons(name, "overloaded") for name in ("calm", "busy")}
    assert given_up["busy"] > 5
    for name, count in given_up.items():
        assert day.beats[name]["overloaded_slots"] == count
        assert day.shown.api[name]["overloaded_slots"] == count
        assert day.shown.listed[name]["overloaded_slots"] == count
    assert f"{given_up['busy']} slots given up" in day.shown.page
    assert day.shown.metrics["soundings_probes_overloaded_slots"] == sum(given_up.values())


@pytest.mark.parametrize("name", ["calm", "busy"])
def test_every_slot_of_a_busy_or_stopped_probe_is_one_row(told: tuple[Day, int], name: str) -> None:
    """Nothing that was due is missing, and nothing came twice or undue."""
    day, _ = told
    slots = [(row["check_no"], row["slot_at"]) for row in day.rows[name]]
    assert len(slots) == len(set(slots)) == sum(day.ledger[name].values())
    assert "unreported" not in day.ledger[name]


def test_a_probe_that_stood_still_says_how_late_it_was(told: tuple[Day, int]) -> None:
    """Its p99 is that of its rows, and most of the time for which it was stopped."""
    day, _ = told
    late = sorted(row["lateness_ms"] for row in day.rows["calm"] if row["state"] == "measured")
    p99_ms = late[math.ceil(len(late) * 0.99) - 1]
    assert p99_ms > 1000 * PAUSE_S / 2
    assert day.beats["calm"]["lateness_ms_p99"] == pytest.approx(p99_ms, abs=0.01)
    assert day.shown.api["calm"]["lateness_ms_p99"] == pytest.approx(p99_ms, abs=0.01)
    assert day.shown.listed["calm"]["lateness_us_p99"] == pytest.approx(1000 * p99_ms, abs=10)
    assert day.shown.metrics["soundings_probes_lateness_max_seconds"] >= 0.99 * p99_ms / 1000


@pytest.mark.parametrize("name", ["calm", "busy"])
def test_each_figure_of_a_heartbeat_arrives(told: tuple[Day, int], name: str) -> None:
    """None that a probe can know is NULL, and each is what a process of this kind can be."""
    beat = told[0].beats[name]
    assert beat["version"] == VERSION
    assert 1 < beat["uptime_s"] < 60
    assert 0.05 < beat["cpu_s"] < beat["uptime_s"]
    assert 20 << 20 < beat["rss_bytes"] < 80 << 20
    assert (beat["receive_drops"] is None) == (not {"icmp4", "icmp6"} & set(beat["capabilities"]))
    assert not beat["receive_drops"]
    assert beat["evicted_rows"] == 0
    assert 0 <= beat["spool_rows"] < 100
    assert 0 <= beat["spool_bytes"] < 100_000
    assert 0 <= beat["queue_depth"] <= 20
    assert beat["lateness_ms_p99"] > 0


def test_a_translator_on_the_way_is_a_fact(told: tuple[Day, int]) -> None:
    """Who is seen under another address than it sends from knows and says so; who is not, too."""
    day, _ = told
    seen = {name: (beat["translated"], beat["address"]) for name, beat in day.beats.items()}
    assert seen == {"calm": (False, LOCAL), "busy": (True, OUTSIDE)}
    for name, beat in day.beats.items():
        assert day.shown.api[name]["translated"] is beat["translated"]
        assert day.shown.listed[name]["translated"] is beat["translated"]
    assert f"{OUTSIDE}, behind NAT" in "\n".join(full(day.shown.listed["busy"], now_us=0))


def test_what_a_host_allows_arrives(told: tuple[Day, int]) -> None:
    """As its probe.toml says, with the defaults for the rest."""
    day, _ = told
    expected = asdict(HostLimits(checks_per_s=1000, per_target_per_minute=60_000, concurrent=1))
    assert day.beats["busy"]["limits"] == expected
    assert day.shown.api["busy"]["limits"] == expected
    assert day.shown.listed["busy"]["limits"] == expected
    assert day.shown.listed["busy"]["refused"] == []


def test_figures_are_what_others_see(told: tuple[Day, int]) -> None:
    """Memory as /proc has it; a probe that runs one check at a time has others waiting."""
    day, resident = told
    assert day.beats["calm"]["rss_bytes"] == pytest.approx(resident, rel=0.2)
    assert day.beats["busy"]["queue_depth_max"] >= 2
