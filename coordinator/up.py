"""Everything on one machine: the coordinator in this process, one probe as its child, the page.

The probe is the real one and goes the real way: it enrols with a token through the enrolment door,
connects over mutual TLS, keeps its own spool. It runs as a process of its own because measuring
wants a loop that nobody else uses; should it end, it is started again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from coordinator.app import Launch, coordinator, wall_us
from coordinator.core.registry import Vantage
from coordinator.core.settings import Address
from coordinator.exits import CoordinatorError, Exit
from coordinator.live import showing
from coordinator.operations import Operations
from coordinator.runtime import Runtime
from coordinator.store import serving
from coordinator.store.readers import StoreUnavailableError

TOKEN_TTL_S: Final = 300
"""The internal token is used at once; it need not outlive a slow start."""

STOP_S: Final = 10.0
"""The probe writes its spool to disk and goes; then it is killed."""

AGAIN_S: Final = 5.0
"""Pause before a probe that ended is started again."""

LOOK_S: Final = 1.0
"""How often the newest verdicts are looked at for something new to say."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What `soundings up` was asked for."""

    data_dir: Path
    config_file: Path | None = None  # None: the shipped one, copied into the data directory
    web: Address | None = None  # None: as the configuration says
    vantage: Vantage = field(default_factory=Vantage)
    python: tuple[str, ...] = (sys.executable, "-m", "soundings")

    @property
    def probe_state(self) -> Path:
        """The local probe's own directory."""
        return self.data_dir / "probe"


def starter_config() -> str:
    """The text of the shipped configuration."""
    return files("coordinator.starter").joinpath("platform.toml").read_text(encoding="utf-8")


def place_config(wishes: Wishes) -> Path:
    """The configuration to run with; the shipped one is copied once and then belongs to the user.

    Raises CoordinatorError when the data directory cannot be written.
    """
    if wishes.config_file is not None:
        return wishes.config_file
    place = wishes.data_dir / "soundings.toml"
    try:
        wishes.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not place.exists():
            place.write_text(starter_config(), encoding="utf-8")
    except OSError as error:
        raise CoordinatorError(
            f"{place}: the configuration cannot be placed there ({error.strerror}); name a "
            "directory that this user may write with --data",
            code=Exit.DATA_UNUSABLE,
        ) from error
    return place


async def run_up(wishes: Wishes, *, stop: asyncio.Event, say: Say) -> None:
    """Run coordinator, probe and page until `stop` is set.

    Raises:
        CoordinatorError: data directory, port or the probe's enrolment; the code says which.
        ConfigError: every finding in the configuration file.
    """
    config_file = place_config(wishes)
    launch = Launch(
        config_file=config_file, data_dir=wishes.data_dir, services=(showing(wishes.web),)
    )
    async with coordinator(launch) as runtime:
        await _enrol(wishes, runtime)
        _greet(wishes, runtime, config_file, say)
        async with _probe(wishes, say), _telling(runtime, say):
            await stop.wait()
            say("stopping")


def _greet(wishes: Wishes, runtime: Runtime, config_file: Path, say: Say) -> None:
    page = runtime.addresses.get("web")
    say("Soundings is running; Ctrl-C stops it.")
    say(f"  page    {f'http://{page}/' if page else 'none (coordinator.web is empty)'}")
    say(f"  config  {config_file} (read again when it changes)")
    say(f"  data    {wishes.data_dir}")
    judging = runtime.configs.config.judging
    wait_s = judging.bin_s + judging.provisional_s
    say(f"The first verdict comes after about {wait_s} s. One vantage point alone can tell a fault")
    say("of its own line; to say anything of a target it takes three networks in two countries.")


# --- the probe ----------------------------------------------------------------------------------


async def _enrol(wishes: Wishes, runtime: Runtime) -> None:
    if (wishes.probe_state / "certificate.pem").exists():
        return
    operations = Operations(runtime.registry, ca_key_sha256=lambda: runtime.authority.key_sha256)
    text, _ = await operations.create_token(name="", vantage=wishes.vantage, ttl_s=TOKEN_TTL_S)
    door = reachable(runtime.addresses["enrol"])
    child = await asyncio.create_subprocess_exec(
        *wishes.python, "probe", "enrol", "--state", str(wishes.probe_state),
        "--coordinator", door, text,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate()
    if child.returncode:
        raise CoordinatorError(
            f"the local probe could not enrol: {said.decode(errors='replace').strip()}",
            code=Exit.DATA_UNUSABLE,
        )


def reachable(bound: str) -> str:
    """An address on this machine for a door that may listen on all of them."""
    name, _, port = bound.rpartition(":")
    return {"0.0.0.0": f"127.0.0.1:{port}", "[::]": f"[::1]:{port}"}.get(name, bound)


@asynccontextmanager
async def _probe(wishes: Wishes, say: Say) -> AsyncIterator[None]:
    """The probe runs as long as the context lasts, and is given time to end well."""
    argv = (*wishes.python, "probe", "run", "--state", str(wishes.probe_state))
    log = wishes.data_dir / "probe.log"
    keeper = asyncio.create_task(_keep_running(argv, log, say))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def _keep_running(argv: Sequence[str], log: Path, say: Say) -> None:
    while True:
        with log.open("ab") as sink:
            child = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink
            )
        try:
            code = await child.wait()
        except asyncio.CancelledError:
            await _end(child)
            raise
        say(f"the local probe ended with code {code}, {log} says why; starting it again")
        await asyncio.sleep(AGAIN_S)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


# --- what it says -------------------------------------------------------------------------------


@asynccontextmanager
async def _telling(runtime: Runtime, say: Say) -> AsyncIterator[None]:
    teller = asyncio.create_task(_tell(runtime, say))
    try:
        yield
    finally:
        teller.cancel()
        await asyncio.gather(teller, return_exceptions=True)


async def _tell(runtime: Runtime, say: Say) -> None:
    """Say the sentence of each service when it changes."""
    said: dict[str, str] = {}
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            newest = await asyncio.to_thread(_newest, runtime)
        except StoreUnavailableError:
            continue
        for verdict in newest:
            if verdict["component"] is None and said.get(verdict["service"]) != verdict["sentence"]:
                said[verdict["service"]] = verdict["sentence"]
                at = str(verdict["window"][1])[:19].replace("T", " ")
                say(f"{at} {verdict['class']} (level {verdict['level']}): {verdict['sentence']}")


def _newest(runtime: Runtime) -> list[dict[str, Any]]:
    with runtime.store.cursor() as cursor:
        return partial(serving.newest_verdicts, now_us=wall_us())(cursor)
