"""What the coordinator's own answerer gives to whom: a nonce for each contact, and not without end.

Whoever did not make contact cannot know the nonce, and its hash is in the row of whoever did. So every
answer has its own, is written down with the address that asked, and is given once. Strangers may ask,
too: together they get no more than a share, because each answer is a row of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

GREETING: Final = "soundings-canary "
"""How an answer begins: what a portal or a proxy says instead is no answer."""

NONCE_BYTES: Final = 16

MINUTE_US: Final = 60 * 1_000_000

PER_PROBE_MINUTE_MAX: Final = 30
"""Answers to one address of a connected probe: several may sit behind one."""

STRANGERS_MINUTE_MAX: Final = 600
"""Answers to all other addresses together: a probe may come from another one than its session."""


def body_of(nonce: bytes) -> bytes:
    """The answer that holds a nonce."""
    return f"{GREETING}{nonce.hex()}\n".encode()


def hash_of(body: bytes) -> str:
    """As a row has it of a body."""
    return hashlib.sha256(body).hexdigest()


class Allowance:
    """How many answers were given within the minute, by address and to strangers."""

    def __init__(self) -> None:
        self._minute = 0
        self._given: dict[str, int] = {}
        self._strangers = 0

    def take(self, address: str, *, known: Collection[str], now_us: int) -> bool:
        """May this address have an answer now? `known` are those of connected probes."""
        if now_us // MINUTE_US != self._minute:
            self._minute = now_us // MINUTE_US
            self._given.clear()
            self._strangers = 0
        if address not in known:
            self._strangers += 1
            return self._strangers <= STRANGERS_MINUTE_MAX
        self._given[address] = self._given.get(address, 0) + 1
        return self._given[address] <= PER_PROBE_MINUTE_MAX
