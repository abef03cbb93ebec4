"""The echo requests of one slot while they are on their way."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from probe.core.icmpwire import EchoAnswer


@dataclass(slots=True)
class Request:
    """One request on its way. `answer` is set once."""

    destination: str
    seq: int | None  # None: no number was free, nothing was sent
    allowed_us: int
    flight: Flight
    sent_ns: int = 0
    sent_monotonic_ns: int = 0
    sent_no: int | None = None  # by the kernel's count of stamped packets
    sent_stamp_ns: int | None = None
    answer: EchoAnswer | None = None


@dataclass(slots=True)
class Flight:
    """The requests of one slot."""

    destination: str
    token: bytes
    deadline: float
    leave_by: float
    spacing_s: float
    unsent: int  # still to leave; 0 once the slot is over
    requests: list[Request] = field(default_factory=list)
    unanswered: int = 0
    duplicates: int = 0
    late: int = 0
    waiting: trio.Event | None = None

    @property
    def settled(self) -> bool:
        """Whether every request was sent and has its answer."""
        return not self.unanswered and not self.unsent

    def answer(self, request: Request, answer: EchoAnswer) -> None:
        """Note what became of a request; the slot wakes when nothing is left to wait for."""
        request.answer = answer
        self.unanswered -= 1
        if self.waiting is not None and self.settled:
            self.waiting.set()

    async def settle(self) -> None:
        """Wait until every request has its answer."""
        if not self.settled:
            self.waiting = trio.Event()
            await self.waiting.wait()
