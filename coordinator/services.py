"""The parts that run beside the doors of the probes, in the order they are started."""

from __future__ import annotations

from typing import Final

from coordinator.live import judge_and_show
from coordinator.runtime import Service

SERVICES: Final[tuple[Service, ...]] = (judge_and_show,)
