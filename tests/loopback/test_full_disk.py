from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_full_disk_wedges_nothing(tmp_path: Path) -> None:
    """3,100 reports on 1 MiB: the newest are kept, the rest counted, and it drains while full."""
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-m"]
    ran = subprocess.run(
        [*command, "tests.fakes.full_disk", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    refused = "unshare failed" in ran.stderr or "permission denied" in ran.stderr
    if refused and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip("mount namespaces are not permitted here")
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    count, first, last, in_order = answer["held"]
    assert answer["refusal"] == errno.ENOSPC
    assert last == 3100
    assert in_order
    assert count >= 300
    assert first > 2000
    assert answer["evicted_rows"] == (3100 - count) * 100
    assert answer["evicted_rows_after_restart"] == answer["evicted_rows"]
    assert answer["reopened"] >= count - 5
    assert answer["left"] == 0
