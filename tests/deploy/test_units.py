"""The systemd units: accepted by systemd, hardened, and naming commands that exist."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).resolve().parents[2] / "deploy" / "systemd").glob("*.service"))
EXPOSURE_MAX = 2.0

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and os.environ.get("LAB_REQUIRED") != "1",
    reason="systemd-analyze (Debian: systemd) is missing",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system that has the units and the programs they name, as after the runbook."""
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, units)
    for program in ("opt/soundings/bin/soundings", "bin/kill", "usr/bin/kill"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    packaged = Path("/lib/systemd/system")
    shutil.copytree(packaged, tmp_path / "lib" / "systemd" / "system", symlinks=True)
    return tmp_path


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_accepts_the_unit(unit: Path, root: Path) -> None:
    """systemd-analyze verify finds nothing to say about the unit."""
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root}", unit.name],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    said = [line for line in ran.stderr.splitlines() if "soundings" in line]
    assert (ran.returncode, said) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_the_unit_is_hardened(unit: Path) -> None:
    """Systemd rates the unit's exposure low: own user, no capability, strict file system."""
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    rating = ran.stdout.strip().splitlines()[-1].split(":")[1].split()[0]
    assert float(rating) <= EXPOSURE_MAX


def test_the_probe_gets_no_capability() -> None:
    """The bounding set of the probe is empty: ICMP comes from a group, not from a right."""
    text = next(unit for unit in UNITS if "probe" in unit.name).read_text()
    assert "CapabilityBoundingSet=\n" in text
    assert "NoNewPrivileges=yes\n" in text
