"""Give back what only the start needed: user, capabilities, and what they could be regained by.

Called once everything that asks for rights is open (a raw socket, a large receive buffer) and before
the first word from a coordinator. From then on the process and every program that it could start
hold no capability, can gain none, leave no core file with a key in it, cannot be looked into by other
processes of the same user, and write files for their owner alone.

Source: capabilities(7), prctl(2), capset(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import resource
from dataclasses import dataclass
from typing import Final

from probe.exits import Exit, ProbeError

_SET_DUMPABLE: Final = 4
_CAPBSET_DROP: Final = 24
_SET_NO_NEW_PRIVS: Final = 38
_CAP_AMBIENT, _CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITIES_MAX: Final = 64  # what version 3 has bits for
_UMASK: Final = 0o077


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine to become."""

    name: str
    uid: int
    gid: int


def account(name: str) -> Account:
    """The user of that name. Raises ProbeError when there is none."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ProbeError(
            f"user is {name!r}, whom this machine does not know; create it (adduser --system {name}) "
            "or name another",
            code=Exit.BAD_CONFIG,
        ) from None
    return Account(name, found.pw_uid, found.pw_gid)


def give_back(become: Account | None) -> int:
    """Drop all privileges for good, as `become` if one is named; the user id that is left.

    Raises ProbeError when this process may not become that user.
    """
    os.umask(_UMASK)
    with contextlib.suppress(
        OSError
    ):  # a filter may forbid it; what is not dumpable leaves no core
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _SET_NO_NEW_PRIVS, 1)
    _empty_bounding_set(libc)
    if become is not None and os.geteuid() != become.uid:
        _become(become)
    _prctl(libc, _CAP_AMBIENT, _CLEAR_ALL)
    _drop_own(libc)
    _prctl(libc, _SET_DUMPABLE, 0)
    return os.geteuid()


def _become(user: Account) -> None:
    try:
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except PermissionError:
        raise ProbeError(
            f"user is {user.name!r}, and only root can become somebody else; start the probe as root "
            f"or as {user.name}, or leave user out",
            code=Exit.NO_PERMISSION,
        ) from None


def _empty_bounding_set(libc: ctypes.CDLL) -> None:
    """As far as this process may; without CAP_SETPCAP no_new_privs does the same."""
    for capability in range(_CAPABILITIES_MAX):
        if libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) < 0 and ctypes.get_errno() == errno.EPERM:
            return


def _drop_own(libc: ctypes.CDLL) -> None:
    """Empty all three sets. A supervisor's filter may forbid it, having left nothing to drop."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing, held = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) == 0:
        return
    number = ctypes.get_errno()
    if libc.capget(header, held) < 0 or any(held):
        raise ProbeError(
            f"capabilities cannot be dropped ({os.strerror(number)}); start the probe without any, as "
            "deploy/systemd/soundings-probe.service does, or allow capset",
            code=Exit.NO_PERMISSION,
        )


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    """Set what an old kernel may not know; what it does not know it cannot be asked for."""
    if libc.prctl(option, value, 0, 0, 0) < 0 and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
