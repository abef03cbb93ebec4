"""A real probe under the system call filter of its systemd unit."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from probe.io.privileges import give_back
from proto.model import Kind, Plan, State
from tests.fakes.fleet import Coordinator
from tests.fakes.ledgers import a_check
from tests.fakes.vantage import enrolled

ROOT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = ROOT / "deploy" / "systemd" / "soundings-probe.service"
LIBRARY: Final = ctypes.util.find_library("seccomp")
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000

pytestmark = pytest.mark.skipif(
    (LIBRARY is None or shutil.which("systemd-analyze") is None)
    and os.environ.get("LAB_REQUIRED") != "1",
    reason="libseccomp or systemd-analyze (Debian: libseccomp2, systemd) is missing",
)


def members(group: str) -> set[str]:
    """The system calls of one of systemd's groups, its inner groups included."""
    printed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = [line.strip() for line in printed.splitlines()[1:]]
    calls = {word for word in words if word and word[0] not in "#@"}
    return calls.union(*(members(word) for word in words if word.startswith("@")))


def allowed() -> set[str]:
    """What the unit's SystemCallFilter lines leave, in their order."""
    left = members("@default")
    for line in re.findall(r"^SystemCallFilter=(.+)$", UNIT.read_text(), re.MULTILINE):
        named = set().union(*(members(group) for group in line.removeprefix("~").split()))
        left = left - named if line.startswith("~") else left | named
    return left


def load(names: set[str]) -> None:
    """Let this process make these calls and no others: they fail with EPERM, as in the unit."""
    give_back(None)  # as the unit does: no capability, an empty bounding set
    assert LIBRARY is not None, "Debian: libseccomp2"
    lib = ctypes.CDLL(LIBRARY, use_errno=True)
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
    for name in names:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            lib.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0)
    assert lib.seccomp_load(context) == 0


def test_the_probe_measures_within_the_filter_of_its_unit(tmp_path: Path) -> None:
    """It starts, gives back its rights, connects, measures every kind, has its certificate renewed by
    a process of its own and stops, under the filter.
    """
    names = allowed()
    assert "socket" in names
    assert not names & {"capset", "setrlimit", "mount", "ptrace", "bpf"}
    with Coordinator() as coordinator:
        coordinator.behaviour.certificate_life = timedelta(days=1)
        state = enrolled(tmp_path / "state", coordinator)
        coordinator.behaviour.certificate_life = timedelta(days=14)
        before = (state / "certificate.pem").read_bytes()
        (state / "probe.toml").write_text('allow_networks = ["127.0.0.0/8"]\n')
        near = {"host": "127.0.0.1", "port": coordinator.fleet_port, "interval_s": 0.5}
        checks = (
            a_check(1, **near),
            a_check(2, kind=Kind.HTTP, use_tls=True, **near),
            a_check(3, kind=Kind.TLS, **near),
            a_check(4, kind=Kind.DNS, **near, server="127.0.0.1", timeout_s=0.2),
        )
        coordinator.behaviour.plan = Plan(version=1, checks=checks, flush_s=0.2)
        words = [sys.executable, "-m", "soundings", "probe", "run", "--state", str(state)]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=ROOT,
                stderr=log,
                preexec_fn=lambda: load(names),  # noqa: PLW1509  # the filter must hold for exec
            )
        try:
            coordinator.wait(
                lambda seen: (
                    {row.check_no for row in seen.rows} >= {1, 2, 3, 4}
                    and (state / "certificate.pem").read_bytes() != before
                )
            )
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, (tmp_path / "log").read_text()
    assert {row.state for row in coordinator.seen.rows} == {State.MEASURED}
    good = [row for row in coordinator.seen.rows if row.check_no == 1]
    assert {row.failure for row in good} == {None}
