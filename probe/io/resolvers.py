"""The name servers of this vantage: what its operator set, else /etc/resolv.conf as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from probe.core.endpoint import Endpoint, parse_endpoint, resolvers_in

RESOLV_CONF: Final = Path("/etc/resolv.conf")


class Resolvers:
    """Call it for the servers to ask; a file that changed since (DHCP) is read again."""

    def __init__(self, given: Sequence[str], *, path: Path = RESOLV_CONF) -> None:
        self._given = tuple(parse_endpoint(text) for text in given)
        self._path = path
        self._read_at: int | None = None
        self._found = resolvers_in("")

    def __call__(self) -> tuple[Endpoint, ...]:
        """The servers in the order in which to ask them; at least one."""
        if self._given:
            return self._given
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_at:
                text = self._path.read_text(encoding="utf-8", errors="replace")
                self._found, self._read_at = resolvers_in(text), changed_at
        except OSError:
            return self._found
        return self._found
