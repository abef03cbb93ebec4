"""A store whose disk fills up in earnest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_a_full_disk_kills_the_database_and_nothing_else(tmp_path: Path) -> None:
    """A failed checkpoint leaves DuckDB dead: it is told, opened anew, and every acknowledged row is there."""
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.fakes.full_store", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    refused = "unshare failed" in ran.stderr or "permission denied" in ran.stderr
    if refused and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip("mount namespaces are not permitted here")
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert any(
        error.startswith("FATAL Error: Failed to create checkpoint") for error in answer["errors"]
    )
    assert all("No space left on device" in told for told in answer["told"])
    assert answer["refusals"] >= len(answer["told"]) == 2
    assert answer["stored"] == [answer["acked_rows"]] * 2
    assert (answer["trouble_after"], answer["readers_failed"]) == (None, 0)
