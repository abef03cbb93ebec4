"""The durability drill in small, and that it sees what it is there to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

pytestmark = pytest.mark.alone

ROOT: Final = Path(__file__).resolve().parents[2]
KILLS_ONLY: Final = ("--quick", "--no-disk", "--seconds", "8", "--seed", "3")


def drill(arguments: Sequence[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the object of the last line, and what was said meanwhile."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.torture", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    refused = "unshare failed" in ran.stderr or "no file system can be mounted" in ran.stderr
    if refused and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip("mount namespaces are not permitted here")
    return ran.returncode, json.loads(ran.stdout.splitlines()[-1]), ran.stderr


def test_kills_a_full_disk_and_a_stalled_one_cost_no_row() -> None:
    """Nothing lost, doubled, missing or altered; the full disk is told and survived without a restart."""
    code, told, said = drill(("--quick", "--seed", "1"))
    assert (told["short"], code) == ([], 0), said
    assert told["figures"]["ledger"]["value"] > 1000


@pytest.mark.parametrize(
    ("broken", "seen"), [("dedup", {"doubled"}), ("ack", {"lost", "gaps"})], ids=str
)
def test_what_is_broken_on_purpose_is_seen(broken: str, seen: set[str]) -> None:
    """Without memory of what was committed rows double; acknowledged before the commit they are lost."""
    code, told, said = drill((*KILLS_ONLY, "--broken", broken))
    assert code == 1, said
    assert seen & set(told["short"]), said
