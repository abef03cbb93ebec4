"""The style of the project as a test: what a linter does not know and a reader should not have to."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("probe", "coordinator", "proto", "analysis", "deploy", "scripts")

FUNCTION_LINES_MAX = 60
FUNCTION_LINES_MEDIAN = 8
FILE_LINES_MAX = 400

PRINTING = (
    *("cli.py", "asking_cli.py", "ca_cli.py", "config_cli.py", "measure_cli.py", "store_cli.py"),
    *("up_cli.py", "demo.py"),
)
"""Files that talk to a person; everything else logs or returns."""

CLOCKS = {"time": {"time", "time_ns", "sleep"}, "datetime": {"now", "utcnow", "today"}}

MARKS = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")


def _sources(*folders: str) -> list[Path]:
    found = [p for f in folders for p in (ROOT / f).rglob("*.py") if "gen" not in p.parts]
    return [*found, ROOT / "soundings.py"]


PRODUCT = _sources(*PACKAGES)
TESTS = sorted((ROOT / "tests").rglob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and its docstring."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (node.end_lineno or node.lineno) - body[0].lineno + 1


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*PRODUCT, *TESTS], ids=_name)
def test_no_file_is_too_long(path: Path) -> None:
    """A file that does not fit in a reader's head is two files."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", [*PRODUCT, *TESTS], ids=_name)
def test_no_function_is_too_long(path: Path) -> None:
    """A function fits on a screen."""
    long = [node.name for node in _functions(path) if _body_lines(node) > FUNCTION_LINES_MAX]
    assert long == []


def test_the_median_function_is_short() -> None:
    """Half of all functions are no longer than eight lines."""
    lines = [_body_lines(node) for path in PRODUCT for node in _functions(path)]
    assert statistics.median(lines) <= FUNCTION_LINES_MEDIAN


@pytest.mark.parametrize("path", [*PRODUCT, *TESTS], ids=_name)
def test_nothing_is_left_over(path: Path) -> None:
    """What is to be done stands in the tracker, not in the code."""
    text = path.read_text(encoding="utf-8")
    assert [mark for mark in MARKS if mark in text] == []


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_only_commands_print(path: Path) -> None:
    """Print belongs to what talks to a person."""
    if path.name in PRINTING or path.name == "soundings.py" or path.parts[-2] == "scripts":
        return
    if "__main__" in path.read_text(encoding="utf-8") or path.name in {"explain.py", "doctor.py"}:
        return
    calls = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    prints = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert [node.lineno for node in prints] == []


CORES = [p for p in PRODUCT if "core" in p.parts] + [ROOT / "proto" / "model.py"]


@pytest.mark.parametrize("path", CORES, ids=_name)
def test_cores_read_no_clock(path: Path) -> None:
    """A core is told what time it is."""
    read = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in CLOCKS.get(node.value.id, set())
    ]
    assert read == []


def _test_functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in _functions(path) if node.name.startswith("test_")]


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_every_test_says_the_fact_it_holds(path: Path) -> None:
    """The docstrings of the tests are the specification."""
    silent = [node.name for node in _test_functions(path) if not ast.get_docstring(node)]
    assert silent == []


def _calls(path: Path) -> set[str]:
    return {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and not _is_zero(node.args)
    }


def _is_zero(args: list[ast.expr]) -> bool:
    """To sleep for nothing is to let others run: no time passes."""
    return len(args) == 1 and isinstance(args[0], ast.Constant) and args[0].value == 0


# A bench measures a stretch of time: it has to let it pass.
TIMELESS = [path for path in TESTS if path.parent.name != "bench" or path.name.startswith("test_")]


@pytest.mark.parametrize("path", TIMELESS, ids=_name)
def test_tests_neither_sleep_nor_patch(path: Path) -> None:
    """A test waits for a condition and passes fakes in."""
    forbidden = {"time.sleep", "trio.sleep", "asyncio.sleep", "mock.patch", "monkeypatch.setattr"}
    assert _calls(path) & forbidden == set()


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_is_dead() -> None:
    """Every module is imported by another, or is a command that the docs or a unit name."""
    imported: set[str] = set()
    for path in [*PRODUCT, *TESTS]:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                imported.add(node.value)
    roots = {"soundings"}
    dead = [
        _module_name(path)
        for path in PRODUCT
        if path.name not in {"__init__.py", "__main__.py"}
        and path.parts[-2] != "scripts"
        and _module_name(path) not in imported | roots
    ]
    assert dead == []


SEAMS = {
    "grpc": ("coordinator.rpc", "proto.gen"),
    "duckdb": ("coordinator.store", "analysis.store"),
    "icmplib": ("probe.io.icmpsocket",),
    "h11": ("probe.io.http",),
    "h2": ("probe.io.http2wire", "probe.io.grpcwire", "probe.io.h2client"),
    "aiohttp": ("coordinator.web",),
}
"""Which modules may touch a library: the one place where it could be exchanged."""


@pytest.mark.parametrize("library", SEAMS)
def test_a_library_stays_at_its_seam(library: str) -> None:
    """Each library of the outside world is imported in one place of ours only."""
    ours = [path for path in PRODUCT if path.parts[-2] != "scripts"]
    users = {_module_name(path) for path in ours if library in _imported_tops(path)}
    assert {user for user in users if not user.startswith(SEAMS[library])} == set()


def _imported_tops(path: Path) -> set[str]:
    tops: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            tops |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            tops.add(node.module.split(".")[0])
    return tops


def test_generated_code_is_fresh() -> None:
    """proto/gen is what the sources beside it generate."""
    script = ROOT / "scripts" / "generate_proto.py"
    ran = subprocess.run([sys.executable, script, "--check"], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout.decode()


def test_the_architecture_holds() -> None:
    """The import directions of the architecture are kept."""
    linter = Path(sys.executable).parent / "lint-imports"
    ran = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
