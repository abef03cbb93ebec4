from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.icmpwire import (
    IDENTS,
    REPLY,
    REQUEST,
    SEQUENCES,
    TOKEN_BYTES,
    EchoAnswer,
    echo_request,
    only_replies_to,
    read_echo,
    steady_token,
    summarise,
    without_ip_header,
)
from probe.core.outcome import IcmpError
from proto.model import Failure, StampSource

IDENTITIES = st.integers(0, IDENTS - 1)
SEQS = st.integers(0, SEQUENCES - 1)
TOKENS = st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES)
FAMILIES = st.sampled_from([4, 6])


def good(rtt_us: int, source: StampSource = StampSource.KERNEL) -> EchoAnswer:
    """A reply in time."""
    return EchoAnswer(rtt_us=rtt_us, stamp_source=source, failure=None, sentence="echo reply")


def bad(failure: Failure, *, sent: bool = True, router: str | None = None) -> EchoAnswer:
    """A request that got no reply."""
    icmp = None
    if router is not None:
        icmp = IcmpError(family=4, icmp_type=3, icmp_code=13, router=router, errno=113)
    return EchoAnswer(
        rtt_us=None, stamp_source=None, failure=failure, sentence="row", icmp=icmp, sent=sent
    )


ANSWERS = st.lists(
    st.one_of(
        st.builds(
            good, st.integers(0, 10**7), st.sampled_from([StampSource.KERNEL, StampSource.USER])
        ),
        st.builds(
            bad, st.sampled_from([Failure.TIMEOUT, Failure.PROHIBITED, Failure.NET_UNREACHABLE])
        ),
        st.builds(bad, st.just(Failure.LOCAL_DENIED), sent=st.just(False)),
    ),
    min_size=1,
    max_size=16,
)


@given(FAMILIES, SEQS, TOKENS)
def test_a_request_is_read_back(family: int, seq: int, token: bytes) -> None:
    """What an error quotes of our request says which one it was."""
    wire = echo_request(family, seq=seq, token=token)
    assert (wire[0], len(wire)) == (REQUEST[family], 64)
    packet = read_echo(wire, family)
    assert packet is not None
    assert (packet.is_reply, packet.seq, packet.token) == (False, seq, token)


@given(FAMILIES, SEQS, TOKENS)
def test_a_reply_differs_in_its_type_alone(family: int, seq: int, token: bytes) -> None:
    """The target sends back what it got, with another type."""
    wire = bytes((REPLY[family],)) + echo_request(family, seq=seq, token=token)[1:]
    packet = read_echo(wire, family)
    assert packet is not None
    assert (packet.is_reply, packet.seq, packet.token) == (True, seq, token)


@given(IDENTITIES, SEQS, TOKENS)
def test_a_raw_request_names_its_asker_and_adds_up(ident: int, seq: int, token: bytes) -> None:
    """IPv4 wants the ones' complement sum of all words to be all ones; IPv6 leaves it to the kernel."""
    wire = echo_request(4, seq=seq, token=token, ident=ident)
    total = sum(struct.unpack("!32H", wire))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    packet = read_echo(wire, 4)
    assert packet is not None
    assert (packet.ident, packet.seq, packet.token) == (ident, seq, token)
    assert echo_request(6, seq=seq, token=token, ident=ident)[2:4] == b"\0\0"


def run_filter(program: bytes, packet: bytes) -> int:
    """How much of the packet a classic BPF program keeps, by the instructions that ours uses."""
    lines = list(struct.iter_unpack("=HBBI", program))
    a = x = at = 0
    while True:
        code, if_true, if_false, k = lines[at]
        at += 1
        match code:
            case 0xB1:  # the length of an IPv4 header
                x = 4 * (packet[k] & 15)
            case 0x01:
                x = k
            case 0x50 | 0x48:  # a byte, a half word; beyond the end the packet is dropped
                size = 1 if code == 0x50 else 2
                if x + k + size > len(packet):
                    return 0
                a = int.from_bytes(packet[x + k : x + k + size], "big")
            case 0x15:
                at += if_true if a == k else if_false
            case 0x06:
                return int(k)


@given(FAMILIES, IDENTITIES, IDENTITIES, SEQS, st.integers(0, 10))
def test_the_filter_passes_replies_to_us_alone(
    family: int, ident: int, other: int, seq: int, options: int
) -> None:
    """Neither requests, nor other idents, nor pieces; IPv4 headers may have options."""
    head = bytes((0x45 + options,)) + bytes(19 + 4 * options) if family == 4 else b""
    request = echo_request(family, seq=seq, token=b"t" * TOKEN_BYTES, ident=ident)
    reply = bytes((REPLY[family],)) + request[1:]
    program = only_replies_to(ident, family)
    assert run_filter(program, head + reply) >= len(head + reply)
    assert run_filter(program, head + request) == 0
    assert run_filter(program, head + reply[:5]) == 0
    stranger = only_replies_to(other, family)
    assert bool(run_filter(stranger, head + reply)) == (other == ident)
    if family == 4:
        assert without_ip_header(head + reply) == reply


def test_nothing_has_no_header() -> None:
    """An empty datagram stays empty."""
    assert without_ip_header(b"") == b""


def test_a_quote_may_hold_the_header_alone() -> None:
    """Routers need to quote no more than eight bytes of ours: the token is missing then."""
    packet = read_echo(echo_request(4, seq=9, token=b"t" * TOKEN_BYTES)[:8], 4)
    assert packet is not None
    assert (packet.seq, packet.token) == (9, b"")


@pytest.mark.parametrize("wire", [b"", b"\x00" * 7, b"\x0d" + bytes(20)])
def test_other_packets_are_no_echoes(wire: bytes) -> None:
    """Short packets and other types are passed over."""
    assert read_echo(wire, 4) is None


@given(ANSWERS)
def test_a_slot_adds_up(answers: list[EchoAnswer]) -> None:
    """Lost and answered are all that was sent; a word stands exactly where nothing came back."""
    summary = summarise(answers)
    replies = [answer for answer in answers if answer.failure is None]
    assert summary.sent - summary.lost == len(replies)
    assert (summary.failure is None) == bool(replies)
    assert (summary.rtt_us_min is None) == (not replies)
    if replies:
        rtts = [answer.rtt_us for answer in replies]
        assert (summary.rtt_us_min, summary.rtt_us_max) == (min(rtts), max(rtts))
        assert summary.rtt_us_min <= summary.rtt_us_median <= summary.rtt_us_max


def test_requests_that_never_left_do_not_count_beside_others() -> None:
    """A local refusal of one request is no loss on the way."""
    summary = summarise([bad(Failure.LOCAL_NO_BUFFER, sent=False), good(5), good(7)])
    assert (summary.sent, summary.lost, summary.rtt_us_median) == (2, 0, 6)


def test_a_slot_that_never_left_is_a_local_failure() -> None:
    """With nothing sent, the reason is this machine's."""
    summary = summarise([bad(Failure.LOCAL_DENIED, sent=False)] * 3)
    assert (summary.failure, summary.sent, summary.lost) == (Failure.LOCAL_DENIED, 3, 3)


def test_a_router_that_says_why_outweighs_silence() -> None:
    """Routers limit their errors: one error beside two silences names the failure."""
    silence = bad(Failure.TIMEOUT)
    summary = summarise([silence, bad(Failure.PROHIBITED, router="192.0.2.1"), silence])
    assert summary.failure is Failure.PROHIBITED
    assert summary.icmp is not None
    assert summary.icmp.router == "192.0.2.1"


def test_the_commonest_error_names_the_slot() -> None:
    """Of several words the one seen most often counts."""
    words = [Failure.NET_UNREACHABLE, Failure.TTL_EXCEEDED, Failure.TTL_EXCEEDED]
    assert summarise([bad(word) for word in words]).failure is Failure.TTL_EXCEEDED


def test_one_reply_by_the_user_clock_makes_the_slot_that() -> None:
    """A row's times are no better than its worst stamp."""
    assert summarise([good(5), good(6)]).stamp_source is StampSource.KERNEL
    assert summarise([good(5), good(6, StampSource.USER)]).stamp_source is StampSource.USER
    both = good(4, StampSource.KERNEL_BOTH)
    assert summarise([both, both]).stamp_source is StampSource.KERNEL_BOTH
    assert summarise([both, good(5)]).stamp_source is StampSource.KERNEL
    assert summarise([bad(Failure.TIMEOUT)]).stamp_source is None


@given(FAMILIES, SEQS, SEQS, st.binary(min_size=TOKEN_BYTES - 2, max_size=TOKEN_BYTES - 2))
def test_requests_of_one_trace_have_one_checksum(
    family: int, one: int, other: int, secret: bytes
) -> None:
    """What load balancers hash is the same whatever the sequence number; the token still differs."""

    def words(seq: int) -> int:
        data = echo_request(family, seq=seq, token=steady_token(secret, seq))
        total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
        return total % 0xFFFF

    assert words(one) == words(other)
    assert (steady_token(secret, one) == steady_token(secret, other)) == (one == other)
