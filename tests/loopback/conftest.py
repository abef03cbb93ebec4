"""What tests of a probe's link start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.fleet import Coordinator


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    """A fake coordinator on loopback."""
    with Coordinator() as made:
        yield made
