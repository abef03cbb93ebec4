"""A context of TLS that remembers what it offers."""

from __future__ import annotations

import ssl


class TlsContext(ssl.SSLContext):
    """Shared by many checks, of which hardly any offers anything else than the one before it."""

    offered: tuple[str, ...] = ()  # versions of HTTP, as set last
