"""What fuzzing found worth keeping, tried again on every run."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import CORPUS, TARGETS, corpus

FILES_MAX = 200
BYTES_MAX = 300_000


@pytest.mark.parametrize("name", TARGETS)
def test_no_kept_input_breaks_its_parser(name: str) -> None:
    """Every kept input is read, or refused with the parser's own error."""
    kept = corpus(name)
    assert kept, f"no corpus of {name}"
    for path in kept:
        TARGETS[name].attempt(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_breaks_its_parser(name: str) -> None:
    """The inputs from which fuzzing starts are read as well, and so is each one cut short."""
    target = TARGETS[name]
    for seed in target.seeds():
        target.attempt(seed)
        for length in range(0, len(seed), 7):
            target.attempt(seed[:length])


def test_the_corpus_stays_small() -> None:
    """It is read by people who clone and by every run."""
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert len(files) < FILES_MAX
    assert sum(path.stat().st_size for path in files) < BYTES_MAX
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
