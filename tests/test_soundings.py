"""The one command: it finds the package that answers, and says what is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import proto
import soundings


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists each subcommand with what it does."""
    assert soundings.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in soundings.COMMANDS)


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command the help is shown and the exit code says usage."""
    assert soundings.main([]) == soundings.USAGE_EXIT
    assert "usage: soundings" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that does not exist is quoted back."""
    assert soundings.main(["frobnicate"]) == soundings.USAGE_EXIT
    assert "no command 'frobnicate'" in capsys.readouterr().err


def test_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    """The version printed is the one in pyproject.toml."""
    assert soundings.main(["--version"]) == 0
    assert capsys.readouterr().out == f"soundings {soundings.VERSION}\n"


def test_a_probe_needs_nothing_of_the_coordinator() -> None:
    """The probe's command imports no library that the base install does not bring."""
    script = (
        "import sys, probe.cli; "
        "sys.exit(any(m in sys.modules for m in ('duckdb', 'numpy', 'aiohttp', 'jinja2')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_proto_is_ours() -> None:
    """No other distribution shadows the top-level name proto."""
    assert proto.__doc__ is not None
    assert "contract between the programs" in proto.__doc__


def test_the_version_is_that_of_the_package() -> None:
    """What the code says of its version is what pyproject.toml gives the wheel."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == soundings.VERSION
