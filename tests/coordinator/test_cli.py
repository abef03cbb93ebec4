"""`soundings coordinator`: what it prints, and how it ends."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from coordinator.cli import main
from coordinator.core.tokens import PREFIX
from tests.fakes.coordinators import CONFIG


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good configuration file."""
    path = tmp_path / "soundings.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_a_good_file_is_counted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a person and for a program, with what verdicts will not be able to say."""
    assert main(["check-config", str(config)]) == 0
    good, *said = capsys.readouterr().out.splitlines()
    assert good == f"{config}: good: 1 services, 1 components, 0 anchors, 0 groups, 4 checks"
    assert main(["check-config", "--json", str(config)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["checks"] == 4
    assert said == [f"{config}: advice: {text}" for text in answer["advice"]]
    assert len(said) == 3


def test_a_bad_file_is_explained_in_full(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every finding on its own line, code 3; the same as data."""
    config.write_text(f"frob = 1\n{CONFIG}packets = 0\n", encoding="utf-8")
    assert main(["check-config", str(config)]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "soundings coordinator: bad configuration:"
    assert len(lines) == 3
    assert all(line.startswith(f"{config}: ") for line in lines[1:])
    assert main(["check-config", "--json", str(config)]) == 3
    assert json.loads(capsys.readouterr().out) == {"good": False, "findings": lines[1:]}


UNREADABLE = {
    "missing": "the file is not readable (No such file or directory); name a readable file",
    "latin": "byte 8 is not UTF-8; save it as UTF-8",
    "huge": "the file is over 4 MiB; split it",
    "torn": "the file is not TOML: ",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Not there, not UTF-8, not a configuration, not TOML."""
    (tmp_path / "latin").write_bytes(b"name = '\xff'")
    (tmp_path / "huge").write_bytes(b"#" * (5 << 20))
    (tmp_path / "torn").write_text("a = [", encoding="utf-8")
    assert main(["check-config", str(tmp_path / name)]) == 3
    assert f"{tmp_path / name}: {UNREADABLE[name]}" in capsys.readouterr().err


def test_an_occupied_port_ends_with_code_8(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one line on stderr names the port, who has it, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        text = CONFIG.replace('fleet = "127.0.0.1:0"', f'fleet = "127.0.0.1:{port}"')
        config.write_text(text, encoding="utf-8")
        assert main(["run", "--config", str(config), "--data", str(tmp_path / "d")]) == 8
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"cannot listen on 127.0.0.1:{port}: port {port} is held by " in error
    assert error.endswith("stop that program or choose another port in the configuration")


def test_a_bad_configuration_does_not_run(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 3, and every finding."""
    config.write_text("", encoding="utf-8")
    assert main(["run", "--config", str(config), "--data", str(tmp_path / "d")]) == 3
    assert "give at least one [[service]] or [[anchor]]" in capsys.readouterr().err


def test_a_directory_that_is_a_file_ends_with_code_7(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path, the system's reason, and the option to change."""
    (tmp_path / "d").write_text("", encoding="utf-8")
    assert main(["run", "--config", str(config), "--data", str(tmp_path / "d")]) == 7
    assert capsys.readouterr().err.startswith(
        f"soundings coordinator: {tmp_path / 'd'}: the data directory cannot be used (File exists);"
    )


def test_a_damaged_store_ends_with_code_7(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named, not traced back to."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "soundings.duckdb").write_bytes(b"no store" * 4096)
    assert main(["run", "--config", str(config), "--data", str(tmp_path / "d")]) == 7
    assert "soundings.duckdb" in capsys.readouterr().err


def test_tokens_and_probes_without_a_running_coordinator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token can be made before the first start; its name is taken from then on."""
    data = ["--data", str(tmp_path / "d")]
    create = ["token", "create", "--name", "v01", "--asn", "64512", "--label", "tier=vps", *data]
    assert main(create) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(PREFIX)
    assert printed.out.count("\n") == 1
    assert "was never used by a coordinator and is made now" in printed.err
    assert "\nfor v01, once, until " in printed.err
    assert main(create) == 2
    assert "the name 'v01' is taken" in capsys.readouterr().err
    assert main(["token", "create", "--ttl", "7d", "--json", *data]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {"token", "name", "expires_at_us"}
    assert main(["probes", "list", "--json", *data]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["probes", "list", *data]) == 0
    assert capsys.readouterr().out.startswith("PROBE ")
    for command in (["revoke", "p0"], ["quarantine", "p0", "--reason", "why"]):
        assert main(["probes", *command, *data]) == 2
        assert "no probe 'p0'" in capsys.readouterr().err


WRONG = {
    "--country": ("deu", "--country is 'deu'; give two capital letters such as DE"),
    "--asn": ("0", "--asn is 0; give the number of an AS"),
    "--provider": ("A B", "--provider is 'A B'; use 1 to 63 of a-z 0-9"),
    "--name": ("A", "--name is 'A'; use 1 to 63"),
    "--label": ("tier=A", "--label is 'A'; use 1 to 63"),
    "--ttl": ("31d", "--ttl is 2678400 s; at most 30 days"),
}


@pytest.mark.parametrize("option", WRONG)
def test_a_fact_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """Option, value and fix, before anything is written."""
    value, message = WRONG[option]
    data = ["--data", str(tmp_path / "d")]
    assert main(["token", "create", option, value, *data]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["frob"],
        ["token", "create", "--ttl", "1y"],
        ["token", "create", "--ttl", "0s"],
        ["token", "create", "--label", "tier"],
        ["trace", "x"],
    ],
)
def test_wrong_usage_ends_with_code_2(argv: list[str]) -> None:
    """As every command line does."""
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["run"],
        ["check-config"],
        ["token"],
        ["token", "create"],
        ["probes"],
        ["probes", "list"],
        ["trace"],
        ["backup"],
        ["restore"],
        ["check-store"],
        ["reload"],
        ["config"],
        ["config", "diff"],
    ],
)
def test_help_has_an_example_and_the_exit_codes(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks any command for help sees how it is used and how it ends."""
    with pytest.raises(SystemExit) as caught:
        main([*argv, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "example:\n  soundings coordinator " in text
    assert "8 port occupied" in text
