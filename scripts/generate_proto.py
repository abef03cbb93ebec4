"""Generate proto/gen from proto/soundings/v1/*.proto; `--check` compares instead and fails on drift.

The sources lie where every generator of every language looks for package soundings.v1. Python's would
put its modules into a package `soundings.v1`, which the program soundings.py hides; they go into
proto.gen, so their imports of each other are rewritten. What is on the wire keeps its name.
"""

from __future__ import annotations

import filecmp
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
GENERATED: Final = ROOT / "proto" / "gen"
PACKAGE: Final = "soundings/v1"
SOURCES: Final = sorted((ROOT / "proto" / PACKAGE).glob("*.proto"))

_MODULES: Final = (
    (re.compile(r"^from soundings\.v1 import ", re.MULTILINE), "from proto.gen import "),
    (re.compile(r"'soundings\.v1\.(\w+_pb2)'"), r"'proto.gen.\1'"),  # __module__ of the classes
    (re.compile(r"code in soundings/v1/"), "code in proto/gen/"),
)


def generate(out: Path) -> None:
    """Write the generated modules into the directory OUT; exits with what protoc says is wrong."""
    plugins = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as scratch:
        kinds = ("python_out", "mypy_out", "grpc_python_out", "mypy_grpc_out")
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-Iproto",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            *(f"--{kind}={scratch}" for kind in kinds),
            *(f"{PACKAGE}/{source.name}" for source in SOURCES),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:  # else it only says which files it wrote
            raise SystemExit(done.stderr)
        for module in Path(scratch, PACKAGE).iterdir():
            code = module.read_text("utf-8")
            if "_grpc" not in module.name or "Stub" in code:  # else a file without a service
                (out / module.name).write_text(_as_imported(code), "utf-8")


def _as_imported(code: str) -> str:
    for pattern, ours in _MODULES:
        code = pattern.sub(ours, code)
    return code


def drift() -> list[str]:
    """Names of generated files that differ from a fresh generation."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        names = {p.name for p in fresh.iterdir()}
        names |= {p.name for p in GENERATED.glob("*_pb2*")}
        return sorted(
            name
            for name in names
            if not (GENERATED / name).exists()
            or not (fresh / name).exists()
            or not filecmp.cmp(GENERATED / name, fresh / name, shallow=False)
        )


def main(argv: list[str]) -> int:
    """Exit 1 when `--check` finds drift."""
    if argv != ["--check"]:
        generate(GENERATED)
        return 0
    stale = drift()
    for name in stale:
        print(f"proto/gen/{name} is not what proto/{PACKAGE}/*.proto generate; run `make proto`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
