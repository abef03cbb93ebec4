"""Attack one parser with inputs that change toward code not seen yet.

    make fuzz FUZZ="dns --seconds 600"
    make fuzz FUZZ="dns --minimise"

Begins with the kept corpus (tests/corpus/fuzz) and the target's seeds; what it finds on the way goes
to out/fuzz/TARGET/corpus, an input that breaks something to out/fuzz/TARGET/crash-*, and the exit
code is then not 0. `--minimise` keeps the few inputs that reach what all of them reach. The engine
is libFuzzer, driven by atheris, which has wheels for Linux on x86-64 only.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from types import FrameType

import atheris

ROOT = Path(__file__).resolve().parents[2]
KEPT_MAX = 28
"""Inputs kept per target: seven targets stay below 200 files."""
KEPT_BYTES_MAX = 8192
LENGTH_MAX = 4096
SLOW_S = 5  # an input that takes longer is a defect: whoever sends it stops the reader
MEMORY_MB = 2048
READERS = ("/probe/", "/proto/", "/coordinator/", "/h11/", "/h2/", "/hpack/")
"""Code that is looked at: engine and minimiser see steps in these places only."""


def main() -> None:
    """Run or minimise; with a run the engine ends the process."""
    words = argparse.ArgumentParser(description="Fuzz one parser.")
    words.add_argument("target", choices=["dns", "grpc", "icmp", "http", "http2", "plan", "report"])
    words.add_argument("--seconds", type=int, default=60)
    words.add_argument("--minimise", action="store_true")
    given = words.parse_args()
    with atheris.instrument_imports(
        include=["probe", "proto", "coordinator", "h11", "h2", "hpack", "hyperframe"]
    ):
        targets = importlib.import_module("tests.fuzz.targets")
    target = targets.TARGETS[given.target]
    work = ROOT / "out" / "fuzz" / given.target
    found = work / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (found / _name(seed)).write_bytes(seed)
    kept = targets.CORPUS / given.target
    kept.mkdir(parents=True, exist_ok=True)
    if given.minimise:
        _minimise(target.attempt, [*found.iterdir(), *kept.iterdir()], kept)
        return
    arguments = [
        sys.argv[0],
        f"-max_total_time={given.seconds}",
        f"-max_len={LENGTH_MAX}",
        f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={work}/",
        "-print_final_stats=1",
        "-use_value_profile=1",
        str(found),
        str(kept),
    ]
    options = {} if target.mutate is None else {"custom_mutator": _mutator(target.mutate)}
    atheris.Setup(arguments, target.attempt, **options)
    atheris.Fuzz()


def _name(content: bytes) -> str:
    return sha1(content, usedforsecurity=False).hexdigest()[:16]


def _mutator(mutate: Callable[[bytes, int], bytes | None]) -> Callable[[bytes, int, int], bytes]:
    """Half of the changes keep the message a message."""

    def change(data: bytes, size_max: int, seed: int) -> bytes:
        found = mutate(data, seed) if seed % 2 else None
        if found is None or len(found) > size_max:
            return bytes(atheris.Mutate(data, size_max))
        return found

    return change


# --- Minimise -------------------------------------------------------------------------------------


def _minimise(attempt: Callable[[bytes], None], inputs: list[Path], kept: Path) -> None:
    """Keep a small set that takes every step between two lines that all inputs take."""
    contents = {path.read_bytes() for path in inputs}
    reach = {
        content: _steps(attempt, content)
        for content in sorted(contents, key=lambda content: (len(content), content))
        if len(content) <= KEPT_BYTES_MAX
    }
    for path in kept.iterdir():
        path.unlink()
    missing = set().union(*reach.values())
    everything = len(missing)
    for _ in range(KEPT_MAX):
        best = max(reach, key=lambda content: len(reach[content] & missing))
        if not reach[best] & missing:
            break
        missing -= reach[best]
        (kept / _name(best)).write_bytes(best)
    print(
        f"{len(list(kept.iterdir()))} kept of {len(reach)}; {everything - len(missing)} "
        f"of {everything} steps between lines"
    )


def _steps(attempt: Callable[[bytes], None], content: bytes) -> set[tuple[object, ...]]:
    """The pairs of lines that run one after the other in our code and h11's, and about how often."""
    taken: Counter[tuple[object, ...]] = Counter()
    last: dict[object, int] = {}

    def trace(frame: FrameType, event: str, _: object) -> object:
        file = frame.f_code.co_filename
        if not any(part in file for part in READERS):
            return None
        if event == "line":
            taken[file, last.get(frame, 0), frame.f_lineno] += 1
            last[frame] = frame.f_lineno
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        attempt(content)
    finally:
        sys.settrace(None)
    return {(*step, times.bit_length()) for step, times in taken.items()}


if __name__ == "__main__":
    main()
