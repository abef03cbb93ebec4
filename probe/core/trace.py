"""Which packet of a trace leaves next, when the trace is over, and what its row says.

A packet that may pass n routers dies at the nth, which tells us its address. Asking hop after hop
and waiting for each takes minutes where routers are silent, and asking all at once is a burst at
the target, which answers every packet that gets so far. So packets leave in a window, and breadth
first: the first packet of every hop before the second of any. The window alone then finds the end:
no hop is asked beyond the target, beyond a router that refused, beyond a loop, or more than
SILENT_MAX hops beyond the last one that answered. An answer that comes late moves that border on.

A silent packet gives its place in the window free after a while, but its answer counts for as long
as the trace runs: a last router needs three seconds to learn that a host is not there. So a trace
that has found no end listens until its deadline.

Sources: RFC 792, RFC 4443 section 3; Augustin et al., "Avoiding traceroute anomalies with Paris
traceroute" (IMC 2006), on what load balancers do to traces and what false loops are.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import Final

from probe.core.classify import NetworkFacts, classify_network, describe_network
from probe.core.draft import worst_of
from probe.core.outcome import (
    Attempt,
    IcmpError,
    Outcome,
    Resolved,
    blank_row,
    validity_of,
)
from proto.charges import TRACE_WINDOW
from proto.model import Check, Failure, Hop, Operation, StampSource

SILENT_MAX: Final = 8
"""Silent hops in a row that are asked before the way counts as dark: clouds hide up to seven."""

LOOP_ROUTERS_MAX: Final = 4
"""A loop of more routers is not looked for: it ends as `ttl_exceeded`."""

LISTENERS: Final = 2
"""Connections that stay open for a late answer: the kernel goes on repeating what they sent."""

_TIME_EXCEEDED: Final = {4: 11, 6: 3}


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a trace: how many routers it may pass, and its number at that hop."""

    ttl: int
    number: int  # from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for a packet. Without `icmp` the target itself answered."""

    router: str | None  # None: the kernel did not say who
    rtt_us: int | None  # None: not told apart from that of a repeated packet
    stamp_source: StampSource | None
    icmp: IcmpError | None = None

    @property
    def died_on_the_way(self) -> bool:
        """Did a router say that the packet had passed all that it might?"""
        icmp = self.icmp
        return icmp is not None and icmp.icmp_type == _TIME_EXCEEDED[icmp.family]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where a trace goes and how far. `own` and `gateway` say how packets leave, where known."""

    address: str
    own: str | None = None
    gateway: str | None = None
    max_hops: int = 30
    packets: int = 3
    wait_s: float = 1.0  # a silent packet holds its place in the window for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a trace ended. Without `failure` the target answered."""

    failure: Failure | None
    sentence: str
    detail: str = ""
    icmp: IcmpError | None = None  # what decided, where a router did


class Course:
    """The state of one trace. Times are seconds of one monotonic clock."""

    def __init__(self, aim: Aim) -> None:
        self.aim = aim
        self._sent: dict[Packet, float] = {}
        self._answers: dict[Packet, Answer] = {}
        self._fault: NetworkFacts | None = None
        self._end: int | None = None  # the hop at which the way is known to end, well or not

    # --- while it runs ----------------------------------------------------------------------------

    def take(self, now_s: float) -> Packet | None:
        """The packet to send now, counted as sent; None: the window is full, or nothing is left."""
        if self._fault is not None or len(self._waiting(now_s)) >= TRACE_WINDOW:
            return None
        packet = self._unsent()
        if packet is not None:
            self._sent[packet] = now_s
        return packet

    def answered(self, packet: Packet, answer: Answer) -> None:
        """Something came back; the first answer to a packet counts."""
        if packet in self._sent and packet not in self._answers:
            self._answers[packet] = answer
            self._end = self._find_end()

    def fail(self, packet: Packet, errno: int | None) -> None:
        """This machine could not send a packet that was taken: the trace ends."""
        del self._sent[packet]
        self._fault = NetworkFacts(
            operation=Operation.HOP, errno=errno, asked=self.aim.address, immediate=True
        )

    def is_worth_listening(self, packet: Packet) -> bool:
        """Can a silent packet still tell more than that its hop is silent?

        A last router that learns late that a host is not there speaks of what lies right behind it:
        of the last round, the LISTENERS packets beyond the last hop that answered.
        """
        beyond = packet.ttl - self._frontier
        is_last = packet.number == self.aim.packets - 1
        return is_last and self._end is None and 0 < beyond <= LISTENERS

    def is_over(self, now_s: float) -> bool:
        """Is nothing left to send or to wait for? Else the deadline ends it."""
        if self._fault is not None:
            return True
        if self._unsent() is not None or self._waiting(now_s):
            return False
        return self._end is not None or self._frontier == self.aim.max_hops

    def look_again_s(self, now_s: float) -> float | None:
        """When the next silent packet gives its place free; None: no packet holds one."""
        return min((at_s + self.aim.wait_s for at_s in self._waiting(now_s)), default=None)

    def _waiting(self, now_s: float) -> list[float]:
        """When each packet was sent that holds a place in the window."""
        last = self._last_ttl
        return [
            at_s
            for packet, at_s in self._sent.items()
            if packet not in self._answers and packet.ttl <= last and now_s < at_s + self.aim.wait_s
        ]

    def _settled(self, now_s: float) -> list[Packet]:
        """The packets that were answered, or waited for in vain."""
        return [
            packet
            for packet, at_s in self._sent.items()
            if packet in self._answers or now_s >= at_s + self.aim.wait_s
        ]

    def _unsent(self) -> Packet | None:
        """The next packet in order, whether or not it may leave now."""
        hops = range(1, self._last_ttl + 1)
        every = (Packet(ttl, number) for number in range(self.aim.packets) for ttl in hops)
        return next((packet for packet in every if packet not in self._sent), None)

    # --- where it ends ----------------------------------------------------------------------------

    @property
    def _last_ttl(self) -> int:
        """No packet goes further than this."""
        if self._end is not None:
            return self._end
        return min(self.aim.max_hops, self._frontier + SILENT_MAX)

    @property
    def _frontier(self) -> int:
        """The furthest hop that answered; 0: none did."""
        return max((packet.ttl for packet in self._answers), default=0)

    def _find_end(self) -> int | None:
        distance = self.distance()
        if distance is not None:
            return distance
        ends = [found[0] for found in (self._barred(), self._loop()) if found is not None]
        return min(ends, default=None)

    def distance(self) -> int | None:
        """The hop at which the target answered; None: it did not."""
        return min((packet.ttl for packet, _ in self._reached()), default=None)

    def _reached(self) -> list[tuple[Packet, Answer]]:
        return [(packet, answer) for packet, answer in self._answers.items() if answer.icmp is None]

    def _barred(self) -> tuple[int, IcmpError] | None:
        """The nearest hop at which a router refused, and what it said."""
        refusals = (
            (packet.ttl, answer.icmp)
            for packet, answer in self._answers.items()
            if answer.icmp is not None and not answer.died_on_the_way
        )
        return min(refusals, key=lambda refusal: refusal[0], default=None)

    def _loop(self) -> tuple[int, IcmpError] | None:
        """The hop at which a few routers came round for the second time, and what it said."""
        firsts = self._first_deaths()
        for ttl, icmp in sorted(firsts.items()):
            for length in range(2, LOOP_ROUTERS_MAX + 1):
                before = [firsts.get(ttl - back) for back in range(2 * length)]
                routers = [None if one is None else one.router for one in before]
                again = routers[:length] == routers[length:] and None not in routers
                if again and len(set(routers)) == length:
                    return ttl, icmp
        return None

    def _first_deaths(self) -> dict[int, IcmpError]:
        """Of each hop at which packets died, what was said of the first of them."""
        found: dict[int, IcmpError] = {}
        for packet in sorted(self._answers, key=lambda packet: packet.number):
            answer = self._answers[packet]
            if answer.icmp is not None and answer.died_on_the_way:
                found.setdefault(packet.ttl, answer.icmp)
        return found

    # --- what it says -----------------------------------------------------------------------------

    def hops(self) -> tuple[Hop, ...]:
        """Every packet up to the end of the way, by hop."""
        order = sorted(self._sent, key=lambda packet: (packet.ttl, packet.number))
        return tuple(self._hop(packet) for packet in order if packet.ttl <= self._last_ttl)

    def _hop(self, packet: Packet) -> Hop:
        answer = self._answers.get(packet)
        icmp = None if answer is None else answer.icmp
        return Hop(
            ttl=packet.ttl,
            packet=packet.number,
            router=None if answer is None else answer.router,
            rtt_us=None if answer is None else answer.rtt_us,
            icmp_type=None if icmp is None else icmp.icmp_type,
            icmp_code=None if icmp is None else icmp.icmp_code,
        )

    def ending(self) -> Ending:
        """Where the way ended, and who said so."""
        distance, barred, loop = self.distance(), self._barred(), self._loop()
        if distance is not None:
            return Ending(failure=None, sentence=f"the target answered at hop {distance}")
        if self._fault is not None:
            return _classified(self._fault)
        if loop is not None and (barred is None or loop[0] < barred[0]):
            return _ended(Failure.LOOP, f"the same routers again at hop {loop[0]}", loop[1])
        if barred is not None:
            return _classified(self._facts_of(barred[1]))
        if self._frontier == self.aim.max_hops:
            last = self._first_deaths().get(self._frontier)
            return _ended(Failure.TTL_EXCEEDED, f"still on the way at hop {self._frontier}", last)
        return _ended(Failure.TIMEOUT, f"nobody answered beyond hop {self._frontier}", None)

    def _facts_of(self, icmp: IcmpError) -> NetworkFacts:
        return NetworkFacts(
            operation=Operation.HOP,
            errno=icmp.errno,
            icmp=icmp,
            asked=self.aim.address,
            own=self.aim.own,
            gateway=self.aim.gateway,
        )

    def outcome(self, check: Check, resolved: Resolved, *, now_s: float, total_us: int) -> Outcome:
        """The row, good when the target answered: then its round trips are the target's.

        `sent` counts the packets that could reach the target and whose fate is known: as far as is
        known, those that went at least as far as it is; all of them when none arrived. What was not
        waited for is not lost. A fault of this machine in the midst marks what came before it, too.
        """
        ending, distance = self.ending(), self.distance() or 0
        reached = [answer for _, answer in self._reached()]
        rtts = [answer.rtt_us for answer in reached if answer.rtt_us is not None]
        sent = max(1, sum(packet.ttl >= distance for packet in self._settled(now_s)))
        median_us = round(statistics.median(rtts)) if rtts else None
        icmp, failure = ending.icmp, ending.failure
        row = replace(
            blank_row(check, resolved=resolved),
            operation=None if failure is None else Operation.HOP,
            failure=failure,
            sent=sent,
            lost=sent - len(reached),
            rtt_us_min=min(rtts, default=None),
            rtt_us_median=median_us,
            rtt_us_max=max(rtts, default=None),
            total_us=total_us,
            stamp_source=worst_of(a.stamp_source for a in reached or self._answers.values()),
            router=None if icmp is None else icmp.router,
            icmp_type=None if icmp is None else icmp.icmp_type,
            icmp_code=None if icmp is None else icmp.icmp_code,
            validity=validity_of(
                failure if self._fault is None else _classified(self._fault).failure
            ),
            hops=self.hops(),
        )
        attempt = Attempt(
            operation=Operation.HOP,
            address=self.aim.address,
            elapsed_us=median_us,
            stamp_source=row.stamp_source,
            failure=failure,
            classified_by=ending.sentence,
            detail=ending.detail,
        )
        return Outcome(result=row, attempts=(*resolved.attempts, attempt))


def _classified(facts: NetworkFacts) -> Ending:
    decided = classify_network(facts)
    return Ending(
        failure=decided.failure,
        sentence=decided.sentence,
        detail=describe_network(facts),
        icmp=facts.icmp,
    )


def _ended(failure: Failure, sentence: str, icmp: IcmpError | None) -> Ending:
    return Ending(failure=failure, sentence=f"{sentence} -> {failure.value}", icmp=icmp)
