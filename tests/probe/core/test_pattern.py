"""Text with `*` between its pieces, looked for in a body."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.pattern import missing_piece


@pytest.mark.parametrize(
    ("pattern", "body", "missing"),
    [
        ("ok", b"all ok here", None),
        ("ok", b"all well", "ok"),
        ("", b"", None),
        ("*", b"", None),
        ('"status":*"ok"', b'{"status": "ok"}', None),
        ('"status":*"ok"', b'{"ok", "status": 1}', '"ok"'),
        ("a*a", b"a", "a"),
        ("a*b", b"a*b", None),
        ("**b*", b"b", None),
        ("über*uns", "siehe über euch und uns".encode(), None),
        ("\udce9", b"\xc3\xa9", "\udce9"),
    ],
)
def test_pieces_in_their_order(pattern: str, body: bytes, missing: str | None) -> None:
    """Every piece must follow the one before it, whatever lies between; else it is named."""
    assert missing_piece(pattern, body) == missing


@given(st.text("ab*", max_size=6), st.binary(max_size=0) | st.text("abc", max_size=12))
def test_it_is_what_a_regular_expression_would_say(pattern: str, body: str | bytes) -> None:
    """The leftmost place of each piece is always the right one."""
    text = body if isinstance(body, str) else ""
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert (missing_piece(pattern, text.encode()) is None) == bool(re.search(expression, text))


def test_a_hostile_pattern_costs_one_pass() -> None:
    """Hundreds of stars that never match are over at the first piece that is missing."""
    assert missing_piece("a*" * 500 + "b", b"a" * (1 << 20)) == "b"
