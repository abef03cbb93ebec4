"""The sandbox the lab lives in, and the network namespaces inside it.

Everything runs in user, network, mount, process and host-name namespaces of its own, made by
`unshare`. The way is the same for root and for anyone else, so what works for one works for the
other; nothing of the machine around is touched; and killing the sandbox's first process ends every
process and every namespace in it.

A network namespace has no name here: it is held by a file descriptor and is gone when the last
descriptor, process and socket of it are. Names under /run/netns would be shared by the machine.

`setns` moves one thread. So `in_namespace` is for plain blocks on one thread: a socket opened or a
process started inside keeps the namespace for life, and nothing may await inside.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

LAB_INSIDE: Final = "LAB_INSIDE"
"""Set in the sandbox to the identity of the user namespace around it, so that the variable alone,
left over in somebody's shell, never makes the lab believe it is inside."""

SANDBOX: Final = ("unshare", "-Urnmpu", "--fork", "--kill-child", "--mount-proc")
_SYSTEM_PATHS: Final = ("/usr/sbin", "/sbin")  # where Debian keeps nft, tc and iptables
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(Exception):
    """The sandbox could not be made or entered; the text says what to do."""


def search_path(environ: Mapping[str, str]) -> str:
    """PATH with the system directories that an unprivileged user's PATH lacks."""
    known = environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*known, *(path for path in _SYSTEM_PATHS if path not in known)])


def sandbox_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process started with `SANDBOX` in front of its arguments."""
    return {**environ, LAB_INSIDE: _user_namespace(), "PATH": search_path(environ)}


def is_inside(environ: Mapping[str, str]) -> bool:
    """Is this process in a sandbox of ours?"""
    around = environ.get(LAB_INSIDE)
    return around is not None and around != _user_namespace()


def enter_sandbox(*, environ: MutableMapping[str, str] = os.environ) -> None:
    """Start this program again inside a sandbox; return at once when already inside.

    The process is replaced, so call it before anything is open. `SandboxError` when `unshare` is
    not installed; when the kernel refuses, `unshare` itself ends with its own message, which
    `deploy.lab.preflight` explains beforehand.
    """
    if is_inside(environ):
        prepare_sandbox()
        return
    _replace_process([*SANDBOX, sys.executable, *sys.orig_argv[1:]], sandbox_environment(environ))


def prepare_sandbox() -> None:
    """Raise the descriptor limit, keep mounts to ourselves, bring the loopback interface up."""
    ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, ceiling))
    _mount(None, "/", _MS_REC | _MS_PRIVATE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        fcntl.ioctl(channel, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))


def bind_mount(source: str, target: str) -> None:
    """Show `source` in place of `target`, in the sandbox only (a resolv.conf of the lab)."""
    _mount(source, target, _MS_BIND)


def new_namespace() -> int:
    """Make a network namespace; return the descriptor that holds it."""
    own = _open_own()
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        return _open_own()
    finally:
        _set_namespace(own)
        os.close(own)


@contextmanager
def in_namespace(descriptor: int) -> Iterator[None]:
    """Move this thread, and only this thread, into a network namespace for the block."""
    own = _open_own()
    try:
        _set_namespace(descriptor)
        try:
            yield
        finally:
            _set_namespace(own)
    finally:
        os.close(own)


def open_socket(descriptor: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Open a socket that lives in the given namespace."""
    with in_namespace(descriptor):
        return socket.socket(family, kind, protocol)


def _replace_process(argv: list[str], environ: Mapping[str, str]) -> NoReturn:
    try:
        os.execvpe(argv[0], argv, environ)  # noqa: S606 (no shell is the point)
    except FileNotFoundError:
        message = "unshare is not installed; it is in Debian's package util-linux"
        raise SandboxError(message) from None


def _user_namespace() -> str:
    return str(Path("/proc/self/ns/user").stat().st_ino)


def _open_own() -> int:
    return os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)


def _set_namespace(descriptor: int) -> None:
    _check(_libc.setns(descriptor, _CLONE_NEWNET), "setns")


def _mount(source: str | None, target: str, flags: int) -> None:
    encoded = None if source is None else source.encode()
    _check(_libc.mount(encoded, target.encode(), None, flags, None), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
