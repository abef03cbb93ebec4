"""What an operator sees when something is wrong: a clear message and a documented exit code.

Each command runs as a process, as it is typed, against a real coordinator. Wherever a fault is a
command's end, the code is compared with the table in docs/operations.md; where the process goes on
(a clock that is off, a disk that fills up), its log says so and its end is good.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from coordinator.exits import Exit as CoordinatorExit
from probe.exits import Exit as ProbeExit
from tests.fakes.commands import (
    ROOT,
    WAIT_S,
    Ended,
    apart,
    command,
    line_with,
    run,
    running,
    soundings,
    terminated,
)

CONFIG: Final = """
[coordinator]
fleet = "127.0.0.1:{fleet}"
enrol = "127.0.0.1:{enrol}"
web = "{web}"
[defaults]
interval_s = 1
timeout_s = 1
[limits]
per_target_per_minute = 60
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "http://127.0.0.1:9/"
kinds = ["tcp"]
"""
TOKEN_PREFIX, SECRET_AT, PIN_AT = "snd1_", 6, 26


@dataclass(frozen=True, slots=True)
class House:
    """A running coordinator, by its directory and its door for new probes."""

    data: Path
    enrol: str

    def token(self) -> str:
        """A fresh token."""
        return soundings("coordinator", "token", "create", "--data", self.data).stdout.strip()


def documented() -> dict[int, str]:
    """The table of exit codes, as people read it."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.split("## Exit codes\n")[1].split("\n## ", maxsplit=1)[0]
    return {
        int(code): means
        for code, means in re.findall(r"^\| (\d+) \| (.+) \|$", table, re.MULTILINE)
    }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One coordinator for all of these tests."""
    place = tmp_path_factory.mktemp("coordinator")
    config, log = place / "soundings.toml", place / "log"
    config.write_text(CONFIG.format(fleet=0, enrol=0, web=""))
    argv = command("coordinator", "run", "--config", config, "--data", place / "d")
    with running(argv, log) as process:
        ready = line_with(log, "ready ", process=process)
        yield House(place / "d", re.findall(r"enrol=(\S+)", ready)[0])
        assert terminated(process) == 0


def changed(token: str, at: int) -> str:
    """The token with one bit of its secret or its pin turned."""
    text = token.removeprefix(TOKEN_PREFIX)
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[at] ^= 1
    return TOKEN_PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def enrolled(house: House, state: Path, toml: str = "") -> Ended:
    """Enrol a fresh probe with this probe.toml."""
    state.mkdir()
    (state / "probe.toml").write_text(toml)
    return enrol(house, state, house.token())


def enrol(house: House, state: Path, token: str) -> Ended:
    """Enrol with this token."""
    return soundings("probe", "enrol", "--coordinator", house.enrol, "--state", state, token)


# --- Faults that end a command --------------------------------------------------------------------


def with_file(path: Path, text: str) -> Path:
    """The path, after the text was written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def bad_soundings_toml(_: House, path: Path) -> Ended:
    """Two findings in the coordinator's file."""
    text = CONFIG.format(fleet=0, enrol="none", web="") + "intervall_s = 5\n"
    return soundings("coordinator", "check-config", with_file(path / "soundings.toml", text))


def run_with_bad_soundings_toml(_: House, path: Path) -> Ended:
    """The same file, when the server is started."""
    text = CONFIG.format(fleet=0, enrol="none", web="") + "intervall_s = 5\n"
    file = with_file(path / "soundings.toml", text)
    return soundings("coordinator", "run", "--config", file, "--data", path / "d")


def bad_probe_toml(_: House, path: Path) -> Ended:
    """Two findings in the probe's file."""
    with_file(path / "probe.toml", 'resolvers = "192.0.2.53"\n[spool]\ncap_mib = -1\n')
    return soundings("probe", "run", "--state", path)


def check_with_bad_probe_toml(_: House, path: Path) -> Ended:
    """The same file, when a check is tried by hand."""
    file = with_file(path / "probe.toml", 'resolvers = "192.0.2.53"\n[spool]\ncap_mib = -1\n')
    return soundings("probe", "check", "icmp://192.0.2.1", "--config", file)


def token_used_by_another(house: House, path: Path) -> Ended:
    """A second machine with the token of the first."""
    token = house.token()
    assert enrol(house, path / "one", token).returncode == 0
    return enrol(house, path / "two", token)


def closed_door(house: House, path: Path) -> Ended:
    """Nobody listens where the coordinator should be."""
    where = ("--coordinator", "127.0.0.1:9", "--state", path)
    return soundings("probe", "enrol", *where, house.token())


def clock_years_off(house: House, path: Path) -> Ended:
    """No certificate of the coordinator's is valid yet by this clock."""
    return enrolled(house, path / "state", "clock_offset_s = -86400000.0\n")


def data_in_use(house: House, path: Path) -> Ended:
    """A second coordinator on the same directory."""
    file = with_file(path / "soundings.toml", CONFIG.format(fleet=0, enrol=0, web=""))
    return soundings("coordinator", "run", "--config", file, "--data", house.data)


@dataclass(frozen=True, slots=True)
class Case:
    """What is done, how it ends, and what the message says besides."""

    act: Callable[[House, Path], Ended]
    code: int
    says: tuple[str, ...]


CASES: Final = {
    "bad soundings.toml": Case(
        bad_soundings_toml, 3, ("soundings.toml: ", "coordinator.enrol", "none", "intervall_s")
    ),
    "run with bad soundings.toml": Case(
        run_with_bad_soundings_toml, 3, ("soundings.toml: ", "coordinator.enrol", "intervall_s")
    ),
    "bad probe.toml": Case(
        bad_probe_toml, 3, ("probe.toml: resolvers is '192.0.2.53'", "spool.cap_mib is -1")
    ),
    "check with bad probe.toml": Case(
        check_with_bad_probe_toml, 3, ("probe.toml: resolvers is ", "spool.cap_mib is -1")
    ),
    "garbage for a token": Case(
        lambda house, path: enrol(house, path, "snd1_garbage"), 4, ("token",)
    ),
    "token unknown": Case(
        lambda house, path: enrol(house, path, changed(house.token(), SECRET_AT)),
        4,
        ("token unknown", "token create"),
    ),
    "token used": Case(token_used_by_another, 4, ("already used by another key", "token create")),
    "wrong CA pin": Case(
        lambda house, path: enrol(house, path, changed(house.token(), PIN_AT)),
        5,
        ("another coordinator", "the token was not sent"),
    ),
    "closed door": Case(closed_door, 6, ("127.0.0.1:9", "Connection refused")),
    "data directory in use": Case(data_in_use, 7, ("another coordinator",)),
    "clock years off": Case(clock_years_off, 10, ("set the clock",)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_ends_with_its_message_and_code(house: House, tmp_path: Path, name: str) -> None:
    """One sentence or one line a finding, naming what is wrong and the fix; the documented code."""
    case = CASES[name]
    ended = case.act(house, tmp_path)
    assert ended.returncode == case.code, ended.stderr
    assert case.code in documented()
    assert ended.stdout == ""
    assert ended.stderr.startswith(("soundings probe: ", "soundings coordinator: "))
    assert "Traceback" not in ended.stderr
    assert [words for words in case.says if words not in ended.stderr] == [], ended.stderr


@pytest.mark.parametrize("door", ["fleet", "enrol", "web"])
def test_an_occupied_port_is_named_with_its_holder(tmp_path: Path, door: str) -> None:
    """8 for each of the three doors: the key, the address, who holds it, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        doors = {"fleet": "0", "enrol": "0", "web": ""}
        doors[door] = f"127.0.0.1:{port}" if door == "web" else str(port)
        file = with_file(tmp_path / "soundings.toml", CONFIG.format(**doors))
        ended = soundings("coordinator", "run", "--config", file, "--data", tmp_path / "d")
    assert ended.returncode == 8, ended.stderr
    assert 8 in documented()
    message = ended.stderr.splitlines()[-1]
    assert f"coordinator.{door}: cannot listen on 127.0.0.1:{port}: port {port} is held" in message
    assert f"(pid {os.getpid()})" in message
    assert "choose another port" in message
    assert "Traceback" not in ended.stderr
    assert "ready" not in ended.stdout


# --- Faults that a probe lives with ---------------------------------------------------------------


def test_a_clock_ten_minutes_off_is_told_to_both_sides(house: House, tmp_path: Path) -> None:
    """At enrolment a warning, at run an error in the log; the operator's list shows the offset."""
    state, log = tmp_path / "state", tmp_path / "log"
    joined = enrolled(house, state, 'clock_offset_s = -600.0\nallow_networks = ["127.0.0.0/8"]\n')
    assert joined.returncode == 0, joined.stderr
    assert joined.stderr.startswith(
        "soundings probe: warning: this machine's clock is 10 min behind"
    )
    assert "timedatectl set-ntp true" in joined.stderr
    probe_id = joined.stdout.split()[2].rstrip(";")
    with running(command("probe", "run", "--state", state), log) as process:
        told = line_with(log, "event=clock_off", process=process)
        assert "level=error" in told
        assert "10 min behind the coordinator's" in told
        assert "timedatectl set-ntp true" in told
        offset_ms = _listed_offset_ms(house, probe_id)
        assert terminated(process) == 0
    assert -601_000 < offset_ms < -599_000 or 599_000 < offset_ms < 601_000


def _listed_offset_ms(house: House, probe_id: str) -> float:
    """The clock's column of `probes list`, once a heartbeat has brought one."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        listed = soundings("coordinator", "probes", "list", "--data", house.data).stdout
        (line,) = [line for line in listed.splitlines() if line.startswith(probe_id)]
        found = re.search(r"([+-]\d+\.\d) ±\d+\.\d ms$", line)
        if found is not None:
            return float(found[1])
        assert time.monotonic() < deadline_s, listed


# --- Faults that need namespaces of their own -----------------------------------------------------

TINY: Final = 'mount -t tmpfs -o size=64k tmpfs "$1"'
FILL: Final = 'head -c 1m /dev/zero >"$1/other" 2>/dev/null || true'


def test_enrolling_on_a_full_disk_ends_with_7(house: House, tmp_path: Path) -> None:
    """The file that could not be written and the system's reason, and no traceback."""
    state = tmp_path / "state"
    where = ("--coordinator", house.enrol, "--state", state)
    words = [tmp_path, *command("probe", "enrol", *where, house.token())]
    ended = run(apart("--mount", script=f'{TINY}; {FILL}; shift; exec "$@"', words=words))
    assert ended.returncode == 7, ended.stderr
    assert 7 in documented()
    assert ended.stderr.startswith(f"soundings probe: {state}")
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_probe_measures_on_while_its_disk_is_full(house: House, tmp_path: Path) -> None:
    """The log says what fails and how to mend it; reports still arrive, and it stops with 0."""
    state, log = tmp_path / "state", tmp_path / "log"
    state.mkdir()
    where = ("--coordinator", house.enrol, "--state", state)
    enrolling = " ".join(command("probe", "enrol", *where, house.token()))
    script = f'{TINY}; {enrolling}; {FILL}; shift; exec "$@"'
    words = [state, *command("probe", "run", "--state", state)]
    with running(apart("--mount", script=script, words=words), log) as process:
        told = line_with(log, "event=spool_disk_fault", process=process)
        assert "level=error" in told
        assert "No space left on device" in told
        assert "free space on the disk of the state directory" in told
        line_with(log, "event=report_acked", process=process, after=told)
        assert terminated(process) == 0
    assert "Traceback" not in log.read_text()


#: A machine with an address and a route, where nobody may ping: what a fresh namespace permits.
ONLINE: Final = (
    "ip link set lo up; ip link add veth0 type veth peer name veth1; "
    "ip address add 192.0.2.7/24 dev veth0; ip link set veth0 up; ip link set veth1 up; "
    "ip route add default via 192.0.2.1"
)


def test_without_icmp_rights_doctor_and_check_end_with_9() -> None:
    """Both name the setting that forbids it, and the line that permits it."""
    assert 9 in documented()
    # Without the capability too: a raw socket would do in the place of a datagram one.
    drop = "setpriv --bounding-set -net_raw --inh-caps -net_raw"
    script = f'{ONLINE}; exec {drop} "$@"'
    target = ("icmp://127.0.0.1", "--allow-network", "127.0.0.0/8")
    doctor = run(apart("--net", script=script, words=command("probe", "doctor")))
    check = run(apart("--net", script=script, words=command("probe", "check", *target)))
    assert (doctor.returncode, check.returncode) == (9, 9), doctor.stdout + check.stdout
    assert "broken   icmp over IPv4" in doctor.stdout
    assert "not run: unsupported" in check.stdout
    for page in (doctor.stdout, check.stdout):
        assert "sysctl -w net.ipv4.ping_group_range='0 2147483647'" in page


# --- The table ------------------------------------------------------------------------------------


def test_every_code_is_documented_in_the_table_and_in_the_help() -> None:
    """What a command may end with is in docs/operations.md, and in its own help."""
    known = documented()
    for name, codes in (("probe", ProbeExit), ("coordinator", CoordinatorExit)):
        told = soundings(name, "--help").stdout.split("exit codes:\n")[1]
        numbers = {int(number) for number in re.findall(r"(?:^|  )(\d+) ", told, re.MULTILINE)}
        assert numbers == {int(code) for code in codes}
        assert numbers <= set(known)
