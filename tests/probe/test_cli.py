from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from probe import cli
from probe.exits import Exit
from tests.fakes.commands import soundings
from tests.fakes.fleet import Authority, Coordinator


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    """A fake coordinator on loopback."""
    with Coordinator() as made:
        yield made


def enrol(state: Path, port: int, token: str) -> int:
    """`soundings probe enrol` with these."""
    where = f"127.0.0.1:{port}"
    return cli.main(["enrol", "--state", str(state), "--coordinator", where, token])


@pytest.mark.parametrize("command", ["enrol", "run", "check", "doctor"])
def test_every_help_has_an_example_and_the_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help is enough to use the command."""
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"soundings probe {command} " in text
    assert "exit codes:" in text


def test_enrolling_prints_who_the_probe_is(
    coordinator: Coordinator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name and the fleet door, and nothing on stderr."""
    assert enrol(tmp_path, coordinator.enrol_port, coordinator.token) == Exit.GOOD
    out, err = capsys.readouterr()
    assert out == f"enrolled as probe-1; fleet at 127.0.0.1:{coordinator.fleet_port}\n"
    assert err == ""


def test_each_refusal_has_its_exit_code(
    coordinator: Coordinator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad token 4, unknown secret 4, wrong pin 5, unreachable 6, unusable directory 7."""
    port = coordinator.enrol_port
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    unknown = coordinator.authority.token(bytes(20))
    stranger = Authority().token(coordinator.secret)
    codes = [
        enrol(tmp_path / "a", port, "pn1_nonsense"),
        enrol(tmp_path / "b", port, unknown),
        enrol(tmp_path / "c", port, stranger),
        enrol(tmp_path / "d", 1, coordinator.token),
        enrol(in_the_way, port, coordinator.token),
    ]
    assert codes == [4, 4, 5, 6, 7]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("soundings probe: ") for line in lines)


def test_running_without_an_enrolment_says_how_to_enrol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command to type is in the message."""
    assert cli.main(["run", "--state", str(tmp_path)]) == Exit.BAD_CONFIG
    assert "soundings probe enrol --state" in capsys.readouterr().err


def test_a_spool_that_cannot_be_used_is_named(coordinator: Coordinator, tmp_path: Path) -> None:
    """A file stands where the spool should be: exit code 7 and one sentence, no traceback."""
    enrol(tmp_path, coordinator.enrol_port, coordinator.token)
    (tmp_path / "spool").write_text("in the way")
    # As a process of its own: it gives back its privileges for good before it opens the spool.
    ended = soundings("probe", "run", "--state", tmp_path)
    assert ended.returncode == Exit.STATE_UNUSABLE
    assert f"{tmp_path / 'spool'}: File exists" in ended.stderr.replace("[Errno 17] ", "")
    assert "Traceback" not in ended.stderr


def test_a_bad_probe_toml_shows_every_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, key, value and fix, all at once, before anything is opened."""
    (tmp_path / "probe.toml").write_text('resolvers = 3\n[spool]\nevict = "all"\n')
    assert cli.main(["run", "--state", str(tmp_path)]) == Exit.BAD_CONFIG
    err = capsys.readouterr().err
    assert "probe.toml: resolvers is 3; give a list" in err
    assert "probe.toml: spool.evict is 'all'; give one of" in err


def test_an_unknown_command_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Argparse's own exit code is ours."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["measure"])
    assert caught.value.code == Exit.USAGE
    assert "invalid choice" in capsys.readouterr().err


def test_importing_the_command_starts_nothing() -> None:
    """A process may import it and fork: one thread, no sockets."""
    code = (
        "import probe.cli, threading, os; "
        "fds = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if n != '3']; "
        "tasks = len(os.listdir('/proc/self/task')); "
        "print(tasks, sum('socket' in fd for fd in fds))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert ran.stdout.split() == ["1", "0"]
