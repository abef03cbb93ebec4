"""Why a port cannot be had, and who has it: said so that a person can act on it."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from coordinator.core.settings import Address
from proto.model import SoundingsError


class PortError(SoundingsError):
    """A door cannot be opened at its address."""


def explain_port(address: Address, *, key: str, proc: Path = Path("/proc")) -> PortError:
    """Try the address once more by hand and say what the system says."""
    try:
        family = socket.AF_INET6 if ":" in address.name else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind((address.name, address.port))
            trial.listen()
    except OSError as error:
        return PortError(f"{key}: cannot listen on {address}: {_fix(error, address, proc)}")
    return PortError(
        f"{key}: cannot listen on {address}: the port was taken for a moment; try again"
    )


def _fix(error: OSError, address: Address, proc: Path) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = find_owner(address.port, proc=proc)
        held = (
            f"port {address.port} is held by {owner}" if owner else f"port {address.port} is taken"
        )
        return f"{held}; stop that program or choose another port in the configuration"
    if error.errno == errno.EACCES:
        return "ports below 1024 need CAP_NET_BIND_SERVICE; choose a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface has that address; use one of this machine's, or 0.0.0.0 for all"
    return f"{error.strerror}; choose another address in the configuration"


def find_owner(port: int, *, proc: Path = Path("/proc")) -> str | None:
    """The program that listens on a TCP port, such as `nginx (pid 71)`; None when it cannot be seen."""
    inodes = _listening_inodes(port, proc)
    for directory in proc.iterdir() if inodes else ():
        if directory.name.isdigit() and _holds(directory, inodes):
            return f"{_command(directory)} (pid {directory.name})"
    return None


def _listening_inodes(port: int, proc: Path) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in _lines(proc / "self" / "net" / table)[1:]:
            fields = line.split()
            # local address is HEX:PORT, state 0A is LISTEN, field 9 is the socket's inode
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _holds(directory: Path, inodes: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in inodes for entry in (directory / "fd").iterdir())
    except OSError:
        return False  # another user's process, or one that just ended


def _command(directory: Path) -> str:
    lines = _lines(directory / "comm")
    return lines[0] if lines else "a program"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
