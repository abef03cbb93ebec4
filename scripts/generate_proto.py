"""Generate proto/gen from proto/*.proto; `--check` compares instead and fails on drift.

The virtual path proto/gen is mapped to proto/, so that the sources sit beside model.py while the
imports come out as `from proto.gen import ...` without any change of sys.path.
"""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "proto" / "gen"
SOURCES = sorted(path.name for path in (ROOT / "proto").glob("*.proto"))


def generate(out: Path) -> None:
    """Write the generated modules below OUT/proto/gen."""
    plugins = Path(sys.executable).parent
    flags = [f"--{kind}={out}" for kind in ("python_out", "mypy_out", "grpc_python_out")]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-Iproto/gen=proto",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        *flags,
        f"--mypy_grpc_out={out}",
        *(f"proto/gen/{name}" for name in SOURCES),
    ]
    subprocess.run(command, cwd=ROOT, check=True)


def drift() -> list[str]:
    """Names of generated files that differ from a fresh generation."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / "proto" / "gen"
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
        generate(ROOT)
        return 0
    stale = drift()
    for name in stale:
        print(f"proto/gen/{name} is not what proto/*.proto generate; run scripts/generate_proto.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
