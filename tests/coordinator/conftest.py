"""What every test of the coordinator starts from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Commands configure the log of their process; no test inherits another's, closed by now."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
