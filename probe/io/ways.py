"""What ways out this machine has: the address it would use, the families it has addresses of.

Nothing here sends a packet.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

# Of this thread's network namespace, which /proc/net is not once a thread has changed its own.
_PROC_NET: Final = Path("/proc/thread-self/net")
_GLOBAL_SCOPE: Final = "00"
_DISCARD_PORT: Final = 9


def own_address(destination: str) -> str | None:
    """The address that packets to `destination` would leave from; None: there is no route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((destination, _DISCARD_PORT))
            return str(sock.getsockname()[0])
    except OSError:
        return None


def families_present() -> set[int]:
    """The families in which this machine has more than loopback and link-local addresses."""
    found: set[int] = set()
    # One line of head; routes of loopback are kept in another table.
    if len(_lines("route")) > 1:
        found.add(4)
    fields = [line.split() for line in _lines("if_inet6")]
    if any(len(field) == 6 and field[3] == _GLOBAL_SCOPE for field in fields):
        found.add(6)
    return found


def _lines(name: str) -> list[str]:
    try:
        return (_PROC_NET / name).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
