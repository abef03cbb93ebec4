from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.icmpwire import (
    REPLY,
    REQUEST,
    SEQUENCES,
    TOKEN_BYTES,
    EchoAnswer,
    echo_request,
    read_echo,
    summarise,
)
from probe.core.outcome import IcmpError
from proto.model import Failure, StampSource

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
    assert summarise([bad(Failure.TIMEOUT)]).stamp_source is None
