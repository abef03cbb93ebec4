"""Traces in virtual time: what is sent when, where the way ends, what the row says."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.outcome import IcmpError, Resolved
from probe.core.trace import SILENT_MAX, Aim, Answer, Course, Packet
from proto.charges import TRACE_WINDOW
from proto.model import Check, Failure, Hop, Kind, Operation, Result, StampSource, Validity

TARGET, OWN, GATEWAY = "203.0.113.9", "10.0.0.2", "10.0.0.1"
AIM = Aim(address=TARGET, own=OWN, gateway=GATEWAY)
CHECK = Check(check_no=1, check_id="t", kind=Kind.TRACE, host=TARGET, port=443)
TICK_S = 0.01
DEADLINE_S = 5.0

Path = Callable[[Packet], Answer | None]


def died(router: str | None, *, rtt_us: int = 1000, family: int = 4) -> Answer:
    """A router says that the packet may go no further."""
    return said(router, 11 if family == 4 else 3, 0, rtt_us=rtt_us, family=family)


def said(
    router: str | None, icmp_type: int, icmp_code: int, *, rtt_us: int = 1000, family: int = 4
) -> Answer:
    """Any ICMP error."""
    icmp = IcmpError(
        family=family,
        icmp_type=icmp_type,
        icmp_code=icmp_code,
        router=router,
        errno=errno.EHOSTUNREACH,
    )
    return Answer(router=router, rtt_us=rtt_us, stamp_source=StampSource.KERNEL, icmp=icmp)


def arrived(*, rtt_us: int | None = 9000, source: StampSource = StampSource.TCP_INFO) -> Answer:
    """The target answers."""
    return Answer(router=TARGET, rtt_us=rtt_us, stamp_source=source)


def way(*routers: str | None, then: Answer | None = None) -> Path:
    """Routers in a row (None is silent), and what happens to packets that pass them all."""

    def answer(packet: Packet) -> Answer | None:
        if packet.ttl > len(routers):
            return then
        router = routers[packet.ttl - 1]
        return None if router is None else died(router)

    return answer


@dataclass
class Walk:
    """A trace that was run to its end."""

    course: Course
    sent: list[Packet]
    most_out: int
    lasted_s: float

    @property
    def row(self) -> Result:
        """Its row."""
        resolved = Resolved(address=TARGET, addresses=(TARGET,))
        return self.course.outcome(CHECK, resolved, now_s=self.lasted_s, total_us=7).result

    @property
    def asked(self) -> dict[int, int]:
        """Packets sent by hop."""
        return {ttl: sum(p.ttl == ttl for p in self.sent) for ttl in {p.ttl for p in self.sent}}


def walk(path: Path, aim: Aim = AIM, *, delay_s: Callable[[Packet], float] = lambda _: 0.0) -> Walk:
    """Run a trace over a path: an answer comes after its delay, looked for every tick."""
    course, now_s, most = Course(aim), 0.0, 0
    sent: list[Packet] = []
    due: list[tuple[float, Packet, Answer]] = []
    while not course.is_over(now_s) and now_s < DEADLINE_S:
        packet = course.take(now_s)
        if packet is not None:
            sent.append(packet)
            answer = path(packet)
            due += [] if answer is None else [(now_s + delay_s(packet), packet, answer)]
            most = max(most, len(due))
            continue
        now_s += TICK_S
        for entry in [entry for entry in due if entry[0] <= now_s]:
            due.remove(entry)
            course.answered(entry[1], entry[2])
    return Walk(course, sent, most, now_s)


def test_a_reached_target_is_a_good_row_with_its_own_times() -> None:
    """The row's round trips are the target's, and its hops are the way in order."""
    done = walk(way("10.0.0.1", None, "192.0.2.1", then=arrived()))
    row = done.row
    assert (row.failure, row.operation, row.validity) == (None, None, Validity.OK)
    assert (row.rtt_us_min, row.rtt_us_median, row.rtt_us_max) == (9000, 9000, 9000)
    assert row.stamp_source is StampSource.TCP_INFO
    assert (row.address, row.port, row.total_us, row.router) == (TARGET, 443, 7, None)
    assert [(hop.ttl, hop.packet) for hop in row.hops] == [
        (ttl, number) for ttl in (1, 2, 3, 4) for number in (0, 1, 2)
    ]
    assert [hop.router for hop in row.hops[::3]] == ["10.0.0.1", None, "192.0.2.1", TARGET]
    assert row.hops[0] == Hop(
        ttl=1, packet=0, router="10.0.0.1", rtt_us=1000, icmp_type=11, icmp_code=0
    )
    assert row.hops[-1] == Hop(ttl=4, packet=2, router=TARGET, rtt_us=9000)


def test_what_is_sent_at_the_target_is_bounded() -> None:
    """Beyond its own packets the target gets no more than the window held when it answered."""
    done = walk(way("10.0.0.1", "192.0.2.1", then=arrived()), delay_s=lambda _: 0.3)
    beyond = sum(packet.ttl > 3 for packet in done.sent)
    assert beyond <= TRACE_WINDOW
    assert (done.row.sent, done.row.lost) == (3 + beyond, 0)
    assert done.most_out == TRACE_WINDOW


def test_lost_packets_to_a_reached_target_are_partial_loss() -> None:
    """Silence of routers on the way is no loss of the target's, silence at its distance is."""

    def path(packet: Packet) -> Answer | None:
        return arrived() if packet.ttl >= 2 and packet.number == 1 else None

    done = walk(path)
    far = [packet for packet in done.sent if packet.ttl >= 2]
    assert done.row.failure is None
    assert done.row.sent == len(far)
    assert done.row.lost == sum(packet.number != 1 for packet in far)


def test_a_dark_way_is_a_timeout_after_the_last_answer() -> None:
    """No more than so many silent hops are asked, and what never came is told as such."""
    done = walk(way("10.0.0.1", "192.0.2.1"))
    row = done.row
    assert (row.operation, row.failure, row.router) == (Operation.HOP, Failure.TIMEOUT, None)
    assert (row.sent, row.lost) == (len(done.sent), len(done.sent))
    assert max(done.asked) == 2 + SILENT_MAX
    assert set(done.asked.values()) == {3}
    assert row.stamp_source is StampSource.KERNEL  # that of the hops
    assert done.lasted_s >= DEADLINE_S


def test_total_silence_is_a_timeout_of_the_first_hop() -> None:
    """Nobody at all answers: the trace asks a window of hops and no clock is named."""
    row = walk(lambda _: None).row
    assert (row.failure, row.stamp_source) == (Failure.TIMEOUT, None)
    assert max(hop.ttl for hop in row.hops) == SILENT_MAX


def test_an_answer_beyond_silence_moves_the_border_on() -> None:
    """Seven hidden routers do not hide the target behind them."""
    row = walk(way(*["10.0.0.1"], *[None] * (SILENT_MAX - 1), then=arrived())).row
    assert row.failure is None
    assert row.hops[-1].ttl == SILENT_MAX + 1


def test_a_late_answer_counts_until_the_trace_ends() -> None:
    """The last router says after three seconds that the host is not there: that is the word."""
    path = way("10.0.0.1", "192.0.2.1", then=said("192.0.2.1", 3, 1))
    row = walk(path, delay_s=lambda packet: 3.1 if packet.ttl > 2 else 0.0).row
    assert (row.failure, row.router) == (Failure.HOST_UNREACHABLE, "192.0.2.1")


REFUSALS = [
    (said("192.0.2.1", 3, 0), Failure.NET_UNREACHABLE),
    (said("192.0.2.1", 3, 1), Failure.HOST_UNREACHABLE),
    (said("192.0.2.1", 3, 3), Failure.REJECTED),
    (said("192.0.2.1", 3, 13), Failure.PROHIBITED),
    (said("fd00::1", 1, 1, family=6), Failure.PROHIBITED),
    (said(OWN, 3, 1), Failure.LOCAL_NO_ROUTE),
]


@pytest.mark.parametrize(("refusal", "failure"), REFUSALS)
def test_a_routers_refusal_ends_the_trace_with_its_word(refusal: Answer, failure: Failure) -> None:
    """The row names the router, and no hop beyond the refusal is told."""
    done = walk(way("10.0.0.1", then=refusal))
    row = done.row
    assert (row.operation, row.failure, row.router) == (Operation.HOP, failure, refusal.router)
    assert (row.icmp_type, row.icmp_code) == (
        refusal.icmp and refusal.icmp.icmp_type,
        refusal.icmp and refusal.icmp.icmp_code,
    )
    assert max(hop.ttl for hop in row.hops) == 2
    assert done.asked[2] == 3


def test_a_target_that_answers_outweighs_a_refusal() -> None:
    """A router refuses some packets, the target answers others: it was reached."""

    def path(packet: Packet) -> Answer | None:
        return said("10.0.0.1", 3, 13) if packet.number == 0 else arrived()

    assert walk(path).row.failure is None


@pytest.mark.parametrize("length", [2, 3, 4])
def test_routers_that_come_round_again_are_a_loop(length: int) -> None:
    """A few routers in the same order twice: no third round is asked."""
    ring = [f"192.0.2.{n}" for n in range(length)]
    done = walk(way("10.0.0.1", *(ring * 10)))
    row = done.row
    assert (row.operation, row.failure) == (Operation.HOP, Failure.LOOP)
    assert (row.router, row.icmp_type) == (ring[-1], 11)
    assert max(hop.ttl for hop in row.hops) == 1 + 2 * length
    assert max(done.asked) <= 1 + 2 * length + TRACE_WINDOW


def test_what_is_no_loop_is_not_called_one() -> None:
    """One router twice in a row, or a silent hop in the ring, proves nothing."""
    assert walk(way("10.0.0.1", *["192.0.2.1"] * 5, then=arrived())).row.failure is None
    holed = ["192.0.2.1", None, "192.0.2.2", "192.0.2.1", None, "192.0.2.2"]
    assert walk(way(*holed, then=arrived())).row.failure is None
    unnamed = walk(lambda packet: died(None) if packet.ttl < 6 else arrived())
    assert unnamed.row.failure is None


def test_a_refusal_within_a_ring_is_the_nearer_end() -> None:
    """The nearest end decides, and only what was asked before it is told."""
    ring = ["192.0.2.1", "192.0.2.2"] * 2
    loop = way(*ring)
    assert walk(way(*ring, then=said("192.0.2.9", 3, 1))).row.failure is Failure.LOOP
    barred = walk(lambda packet: said("192.0.2.9", 3, 1) if packet.ttl == 1 else loop(packet))
    assert barred.row.failure is Failure.HOST_UNREACHABLE


def test_the_last_hop_still_on_the_way_is_ttl_exceeded() -> None:
    """With all hops used up the row names the router that would have sent the packet on."""
    aim = replace(AIM, max_hops=3)
    done = walk(way("10.0.0.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", then=arrived()), aim)
    row = done.row
    assert (row.failure, row.router, row.icmp_type) == (Failure.TTL_EXCEEDED, "192.0.2.2", 11)
    assert max(done.asked) == 3
    assert done.lasted_s < 1


def test_a_send_that_fails_here_is_this_machines_fault() -> None:
    """The trace ends at once, and the row says nothing of the target."""
    course = Course(AIM)
    packet = course.take(0.0)
    assert packet == Packet(1, 0)
    course.fail(packet, errno.ENETUNREACH)
    assert course.is_over(0.0)
    assert course.take(0.0) is None
    resolved = Resolved(address=TARGET, addresses=(TARGET,))
    row = course.outcome(CHECK, resolved, now_s=0.0, total_us=1).result
    assert (row.failure, row.validity) == (Failure.LOCAL_NO_ROUTE, Validity.PROBE_FAULT)
    assert (row.sent, row.lost, row.hops) == (1, 1, ())


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS])
def test_a_fault_of_this_machine_in_the_midst_is_no_loss_of_the_targets(number: int) -> None:
    """The target answered, then a send failed here: nothing on its way counts, the row is marked."""
    course = Course(AIM)
    out = [course.take(0.0) for _ in range(TRACE_WINDOW)]
    assert out[3] is not None
    course.answered(out[3], arrived())
    failing = course.take(0.0)
    assert failing is not None
    course.fail(failing, number)
    resolved = Resolved(address=TARGET, addresses=(TARGET,))
    row = course.outcome(CHECK, resolved, now_s=0.1, total_us=1).result
    assert (row.failure, row.operation, row.validity) == (None, None, Validity.PROBE_FAULT)
    assert (row.sent, row.lost) == (1, 0)


@given(
    routers=st.integers(0, 20), packets=st.integers(1, 4), rtt_s=st.sampled_from([0.0, 0.05, 0.9])
)
def test_a_lossless_way_of_any_length_loses_nothing(
    routers: int, packets: int, rtt_s: float
) -> None:
    """What went beyond the target and was still on its way at the end was not lost."""
    path = way(*(f"192.0.2.{n}" for n in range(routers)), then=arrived())
    aim = replace(AIM, packets=packets)
    done = walk(path, aim, delay_s=lambda packet: rtt_s * packet.ttl / (routers + 8))
    assert (done.row.failure, done.row.lost) == (None, 0)
    assert done.row.sent >= packets


def test_a_silent_packet_gives_its_place_free() -> None:
    """A full window waits for the oldest of its packets, and for nothing else."""
    course = Course(AIM)
    assert [course.take(1.0) for _ in range(TRACE_WINDOW)] == [Packet(t, 0) for t in range(1, 9)]
    assert course.take(1.5) is None
    assert course.look_again_s(1.5) == 2.0
    assert course.look_again_s(2.0) is None
    assert course.take(2.0) == Packet(1, 1)


def test_a_silent_connection_is_worth_listening_to_right_behind_the_last_router() -> None:
    """In the last round, while no end is known: there a router may still say that no host is there."""
    course = Course(replace(AIM, packets=2))
    for packet in (Packet(1, 0), Packet(2, 0), Packet(3, 0), Packet(2, 1)):
        assert course.take(0.0) is not None
        assert course.is_worth_listening(packet) == (packet == Packet(2, 1))
    course.answered(Packet(1, 0), died("192.0.2.1"))
    last_round = [Packet(ttl, 1) for ttl in range(1, 6)]
    assert [course.is_worth_listening(packet) for packet in last_round] == [
        *(False, True, True),
        *(False, False),
    ]
    course.answered(Packet(2, 0), arrived())
    assert not any(course.is_worth_listening(packet) for packet in last_round)


def test_only_the_first_answer_counts_and_only_to_what_was_sent() -> None:
    """A duplicate changes nothing, a stranger's answer is none."""
    course = Course(AIM)
    packet = course.take(0.0)
    assert packet is not None
    course.answered(packet, died("10.0.0.1"))
    course.answered(packet, arrived())
    course.answered(Packet(9, 2), arrived())
    assert course.distance() is None
    assert [hop.router for hop in course.hops()] == ["10.0.0.1"]


def test_an_answer_without_a_time_is_an_answer() -> None:
    """Where nobody knows which of two packets was answered, the hop has no round trip."""
    row = walk(lambda _: arrived(rtt_us=None)).row
    assert (row.failure, row.rtt_us_median, row.hops[0].rtt_us) == (None, None, None)


ANSWERS = st.none() | st.one_of(
    st.just(arrived()),
    st.sampled_from([died(f"192.0.2.{n}") for n in range(4)]),
    st.just(said("192.0.2.200", 3, 1)),
)


@given(
    answers=st.lists(ANSWERS, max_size=40),
    max_hops=st.integers(1, 12),
    packets=st.integers(1, 3),
    delays_s=st.lists(st.sampled_from([0.0, 0.05, 1.5]), min_size=1, max_size=7),
)
def test_no_network_makes_a_trace_exceed_its_bounds(
    answers: Sequence[Answer | None], max_hops: int, packets: int, delays_s: Sequence[float]
) -> None:
    """Each packet leaves at most once and within its hops; the row contradicts nothing."""
    aim = replace(AIM, max_hops=max_hops, packets=packets)
    script = dict(enumerate(answers))
    delay = dict(enumerate(delays_s))
    done = walk(
        lambda packet: script.get(packet.ttl * packets + packet.number),
        aim,
        delay_s=lambda packet: delay[(packet.ttl + packet.number) % len(delay)],
    )
    assert len(done.sent) == len(set(done.sent)) <= max_hops * packets
    assert all(p.ttl <= max_hops and p.number < packets for p in done.sent)
    row = done.row
    assert 0 <= row.lost <= row.sent
    assert (row.failure is None) == (row.operation is None)
    assert (row.failure is None) == (done.course.distance() is not None)
    keys = [(hop.ttl, hop.packet) for hop in row.hops]
    assert keys == sorted(set(keys))
