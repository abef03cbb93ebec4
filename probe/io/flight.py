"""The echo requests of one slot while they are on their way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from probe.core.classify import NetworkFacts, classify_network, describe_network
from probe.core.icmpwire import EchoAnswer
from probe.core.outcome import IcmpError
from probe.io.pacer import Appointment
from probe.io.ways import way_to
from proto.model import Failure, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Echoes:
    """What a slot's requests came to."""

    answers: tuple[EchoAnswer, ...]
    duplicates: int
    late: int  # of the silent ones: answered after the deadline
    dropped: bool  # some are missing and the kernel dropped some: silence proves nothing


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
    drops: int  # of the socket, when the slot began
    done: Callable[[Echoes], None]  # told once, when it is over
    requests: list[Request] = field(default_factory=list)
    unanswered: int = 0
    replies: int = 0
    duplicates: int = 0
    late: int = 0
    expiry: Appointment | None = None  # None: the slot is over

    @property
    def settled(self) -> bool:
        """Whether every request was sent and has its answer."""
        return not self.unanswered and not self.unsent


SILENCE: Final = EchoAnswer(
    rtt_us=None,
    stamp_source=None,
    failure=Failure.TIMEOUT,
    sentence=classify_network(NetworkFacts(operation=Operation.ECHO, errno=None)).sentence,
)


def failed(facts: NetworkFacts) -> EchoAnswer:
    """What the network or this machine said of a request instead of a reply."""
    decided = classify_network(facts)
    return EchoAnswer(
        rtt_us=None,
        stamp_source=None,
        failure=decided.failure,
        sentence=decided.sentence,
        detail=describe_network(facts),
        icmp=facts.icmp,
        sent=not facts.immediate,
    )


def returned(destination: str, number: int, icmp: IcmpError | None) -> EchoAnswer:
    """A request that came back as an error."""
    way = None if icmp is None else way_to(destination)
    return failed(
        NetworkFacts(
            operation=Operation.ECHO,
            errno=number,
            icmp=icmp,
            asked=destination,
            own=None if way is None else way.own,
            gateway=None if way is None else way.gateway,
        )
    )


def not_sent(destination: str, number: int | None) -> EchoAnswer:
    """A request that did not leave, for this errno; None: there was no time for it any more."""
    return failed(
        NetworkFacts(
            operation=Operation.ECHO,
            errno=number,
            asked=destination,
            immediate=True,
            overdue=number is None,
        )
    )
