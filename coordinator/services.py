"""The parts that run beside the doors of the probes, in the order they are started."""

from __future__ import annotations

from typing import Final

from coordinator.live import judge_and_show
from coordinator.runtime import Service
from coordinator.trusting import watch_trust
from coordinator.web.canary import answer_canaries

SERVICES: Final[tuple[Service, ...]] = (judge_and_show, answer_canaries, watch_trust)
