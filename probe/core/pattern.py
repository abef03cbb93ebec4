"""Is the expected text in a body? Plain text, or pieces of text with `*` between them.

A plan may be hostile, and a regular expression that backtracks can hold a probe for minutes. Here
the pieces must occur in their order, with anything between them, and the leftmost place of each is
always the right one to try: no choice, no backtracking, one pass over the body. A `*` stands for
any text, a star included, so it needs no escape.
"""

from __future__ import annotations

from typing import Final

ANYTHING: Final = "*"


def missing_piece(pattern: str, body: bytes) -> str | None:
    """The first piece of the pattern that the body lacks after those before it; None: all there."""
    at = 0
    for piece in pattern.split(ANYTHING):
        wanted = piece.encode("utf-8", "surrogatepass")
        found = body.find(wanted, at)
        if found < 0:
            return piece
        at = found + len(wanted)
    return None
