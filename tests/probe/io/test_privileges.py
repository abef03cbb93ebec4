"""What is left of a process after it gave back its privileges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from probe.exits import Exit, ProbeError
from probe.io.privileges import account

ROOT = Path(__file__).resolve().parents[3]
LOOK = """
import ctypes, os, sys
from probe.io.privileges import account, give_back
for name in sys.argv[1:]:
    give_back(account(name))
print(os.getresuid(), os.getresgid(), os.getgroups(), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
try:
    os.setuid(0)
except PermissionError:
    print("for good")
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def look(*names: str) -> subprocess.CompletedProcess[str]:
    """Become these users one after the other in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", LOOK, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@as_root
def test_root_becomes_the_user_for_good() -> None:
    """All ids and groups are the user's, nobody may look into the process, and no way leads back."""
    nobody = account("nobody")
    ids, groups = (nobody.uid,) * 3, (nobody.gid,) * 3
    assert look("nobody").stdout == f"{ids} {groups} [] 0\nfor good\n"


@as_root
def test_somebody_else_cannot_become_a_user() -> None:
    """The error says who may; nothing goes on with other rights than were asked for."""
    ran = look("nobody", "daemon")
    assert ran.returncode != 0
    assert "only root can become somebody else" in ran.stderr


def test_an_unknown_user_is_named() -> None:
    """A misspelt user is bad configuration, not a probe that runs as root."""
    with pytest.raises(ProbeError, match="user is 'no-such-user'") as raised:
        account("no-such-user")
    assert raised.value.code is Exit.BAD_CONFIG
