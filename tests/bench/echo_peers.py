"""fping and ping at work beside the probe: what they say of packets whose truth is recorded."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.ground import Ground, end
from tests.bench.truth import Exchange, Truth
from tests.bench.workload import PEER_BLOCK

FPING_TARGETS: Final = tuple(f"10.{PEER_BLOCK}.0.{number}" for number in range(1, 4))
PING_TARGETS: Final = tuple(f"10.{PEER_BLOCK}.1.{number}" for number in range(1, 4))
_PERIOD_MS: Final = 20
_FPING = re.compile(r"^(\S+) +: \[(\d+)\], \d+ bytes, ([\d.]+) ms", re.MULTILINE)
_PING = re.compile(r"icmp_seq=(\d+) ttl=\d+ time=([\d.]+) ms")


@dataclass(frozen=True, slots=True)
class Said:
    """One round trip as a tool printed it: the how-many-eth packet to whom."""

    address: str
    number: int  # from 0
    us: float


class EchoPeers:
    """Both tools on the vantage's core, for some seconds."""

    def __init__(self, ground: Ground, *, seconds: float) -> None:
        count = str(max(5, round(seconds * 1000 / _PERIOD_MS)))
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._seconds = seconds
        self._fping = ground.popen(
            ["fping", "-c", count, "-p", str(_PERIOD_MS), *FPING_TARGETS], text=True, **pipes
        )
        self._pings = {
            target: ground.popen(
                ["ping", "-n", "-i", str(_PERIOD_MS / 1000), "-c", count, target],
                text=True,
                **pipes,
            )
            for target in PING_TARGETS
        }

    def finish(self) -> dict[str, list[Said]]:
        """Wait for both and take what they printed."""
        fping = list(fping_said(self._output(self._fping)))
        ping = [
            said
            for target, process in self._pings.items()
            for said in ping_said(target, self._output(process))
        ]
        return {"fping": fping, "ping": ping}

    def _output(self, process: subprocess.Popen[str]) -> str:
        try:
            return process.communicate(timeout=self._seconds + 20)[0]
        finally:
            end(process)


def fping_said(output: str) -> Iterator[Said]:
    """The round trips in what fping printed."""
    for address, number, ms in _FPING.findall(output):
        yield Said(address, int(number), float(ms) * 1000)


def ping_said(target: str, output: str) -> Iterator[Said]:
    """The round trips in what ping printed of one target."""
    for number, ms in _PING.findall(output):
        yield Said(target, int(number) - 1, float(ms) * 1000)


def errors_us(said: Iterable[Said], truth: Truth) -> list[float]:
    """How far each printed time lies from the truth."""
    found: list[float] = []
    for one in said:
        sent: list[Exchange] = truth.echoes.get(one.address, [])
        true_us = sent[one.number].us if one.number < len(sent) else None
        if true_us is not None:
            found.append(abs(one.us - true_us))
    return found
