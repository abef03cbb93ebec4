"""Which address is seen, and whether it is one's own."""

from __future__ import annotations

import pytest

from probe.core.sighting import Sighting, dump, load, sighting_of


@pytest.mark.parametrize(
    ("own", "seen", "translated"),
    [
        ("192.0.2.7", "192.0.2.7", False),
        ("10.0.0.7", "192.0.2.7", True),
        ("2001:DB8::0:7", "2001:db8::7", False),
        ("fe80::7%eth0", "fe80::7", False),
        (None, "192.0.2.7", None),
        ("192.0.2.7", "", None),
        ("192.0.2.7", "somewhere", None),
    ],
)
def test_two_spellings_of_an_address_are_one(
    own: str | None, seen: str, *, translated: bool | None
) -> None:
    """Addresses are compared as addresses; where one end says none, nothing is known."""
    found = sighting_of(own, seen)
    assert (None if found is None else found.translated) is translated


def test_what_was_kept_is_read_again() -> None:
    """Written and read it is the same."""
    sighting = Sighting("10.0.0.7", "192.0.2.7")
    assert load(dump(sighting)) == sighting


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"own": 1, "seen": null}'])
def test_a_damaged_file_says_nothing(content: bytes) -> None:
    """It is for people alone, and the next session writes it anew."""
    assert load(content) is None
