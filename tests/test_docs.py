"""What the documents say exists, and what exists is in the documents."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import soundings
from analysis.core.taxonomy import VerdictClass
from coordinator.core.components import COMPONENT_KEYS, DEFAULT_KEYS
from coordinator.core.reading import Key
from coordinator.core.validation import (
    DOOR_KEYS,
    GROUP_KEYS,
    JUDGING_KEYS,
    LIMIT_KEYS,
    TOP_KEYS,
    validate,
)
from probe.settings import parse_settings
from proto.model import Failure, Operation, Reason, Role, StampSource, State

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "deploy" / "README.md"]
WORKPLACE = re.compile(r"\b(prompts?|LLM|chatbot|sub-?agents?|/work/|/tmp/)\b", re.IGNORECASE)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _all_docs() -> str:
    return "\n".join(_text(page) for page in PAGES)


@pytest.mark.parametrize("word", [*Failure, *Operation, *Role, *State, *Reason, *StampSource])
def test_every_word_is_documented(word: str) -> None:
    """Each word of the closed lists stands in the documents as code."""
    assert re.search(rf"[`, ]{re.escape(word)}[`, \n]", _all_docs())


@pytest.mark.parametrize("word", VerdictClass)
def test_every_verdict_class_is_documented(word: str) -> None:
    """Each class and parent that a verdict can name is explained."""
    assert f"`{word}`" in _text(ROOT / "docs" / "ontology.md")


def test_the_pages_of_the_tables_are_fresh() -> None:
    """docs/tables.md is what the schema says."""
    script = ROOT / "scripts" / "generate_docs.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


def _shown_commands() -> list[tuple[str, str]]:
    """Every `soundings ...` line inside a code block, with the page it stands on."""
    shown: list[tuple[str, str]] = []
    for page in PAGES:
        for block in re.findall(
            r"```(?:sh|console)?\n(.*?)```|((?:^    .*\n)+)", _text(page), re.DOTALL | re.MULTILINE
        ):
            for line in "".join(block).splitlines():
                found = re.search(r"(?:^|/bin/|\$ )(soundings(?: .*)?)$", line.strip())
                if found:
                    shown.append((page.name, found[1].split(" #")[0].strip()))
    return shown


@pytest.mark.parametrize(("page", "line"), _shown_commands())
def test_a_command_shown_is_a_command_that_exists(page: str, line: str) -> None:
    """Each command and option that a page shows is in that command's help."""
    words = shlex.split(line)[1:]
    assert words, page
    named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
    help_text = _help(tuple(named))
    missing = [w for w in words if w.startswith("--") and w.split("=")[0] not in help_text]
    assert missing == []


@cache
def _help(words: tuple[str, ...]) -> str:
    """Help of the deepest subcommand that the leading words name."""
    for depth in range(min(len(words), 3), 0, -1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            try:
                code = soundings.main([*words[:depth], "--help"])
            except SystemExit as ended:
                code = int(ended.code or 0)
        if code == 0:
            return printed.getvalue()
    return ""


@pytest.mark.parametrize("name", soundings.COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """The help of each subcommand shows how it is called."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        sys.exit(soundings.main([name, "--help"]))
    assert not ended.value.code
    assert "example" in printed.getvalue().lower()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_documents_speak_of_the_project_alone(page: Path) -> None:
    """No page tells of the workplace where it was written."""
    assert WORKPLACE.findall(_text(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file that exists."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", _text(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


def _toml_block(name: str) -> str:
    page = _text(ROOT / "docs" / "operations.md")
    return next(b for b in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if f"# {name}" in b)


def test_the_coordinators_file_as_documented_is_valid() -> None:
    """The example of soundings.toml passes the coordinator's own validation."""
    assert validate(tomllib.loads(_toml_block("soundings.toml")), file="soundings.toml").services


def test_the_probes_file_as_documented_is_valid() -> None:
    """The example of probe.toml passes the probe's own validation."""
    assert parse_settings(_toml_block("probe.toml"), name="probe.toml").resolvers


def _names(keys: tuple[Key, ...]) -> set[str]:
    return {key.name for key in keys}


def test_every_key_of_the_coordinators_file_is_documented() -> None:
    """No key can be set that the operator's page does not show."""
    known = set(TOP_KEYS) | _names(DOOR_KEYS) | _names(JUDGING_KEYS) | _names(DEFAULT_KEYS)
    known |= _names(COMPONENT_KEYS) | _names(GROUP_KEYS) | _names(LIMIT_KEYS)
    page = _toml_block("soundings.toml")
    assert {key for key in known if not re.search(rf"\b{key}\b", page)} == set()


def test_the_readme_fits_one_screen() -> None:
    """A reader sees what it is and how to try it without scrolling far."""
    assert len(_text(ROOT / "README.md").splitlines()) <= 80
