"""Echo requests and replies as bytes, and what a handful of them says about one slot.

On an unprivileged socket the kernel writes identifier and checksum itself and hands over nothing
but replies to that identifier; the sequence number says which request. A token in the payload
guards against a sequence number that came round again and against somebody's guess.

Sources: RFC 792, RFC 4443 section 4; Linux net/ipv4/ping.c.
"""

from __future__ import annotations

import statistics
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from probe.core.outcome import IcmpError
from proto.model import Failure, StampSource

REQUEST: Final = {4: 8, 6: 128}
REPLY: Final = {4: 0, 6: 129}
TOKEN_BYTES: Final = 8
SEQUENCES: Final = 65536
# 56 bytes as ping sends: 84 on the wire of IPv4. Whoever captures it can read who asks.
_PAYLOAD_BYTES: Final = 56
_FILLER: Final = b"soundings-probe: reachability measurement, see docs "
_HEADER = struct.Struct("!BBHHH")


@dataclass(frozen=True, slots=True)
class EchoPacket:
    """What can be read of an echo: its sequence number, and its token where it came whole."""

    is_reply: bool
    seq: int
    token: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoAnswer:
    """What became of one request. Silence: no round trip and no failure but a timeout."""

    rtt_us: int | None
    stamp_source: StampSource | None
    failure: Failure | None
    sentence: str
    detail: str = ""
    icmp: IcmpError | None = None
    sent: bool = True  # False: it never left this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoSummary:
    """The figures of a slot's row."""

    sent: int
    lost: int
    failure: Failure | None  # None as soon as one reply came
    icmp: IcmpError | None
    rtt_us_min: int | None
    rtt_us_median: int | None
    rtt_us_max: int | None
    stamp_source: StampSource | None  # the worst of the replies'


def echo_request(family: int, *, seq: int, token: bytes) -> bytes:
    """An echo request; identifier and checksum are left to the kernel."""
    payload = (token + _FILLER * 2)[:_PAYLOAD_BYTES]
    return _HEADER.pack(REQUEST[family], 0, 0, 0, seq) + payload


def read_echo(data: bytes, family: int) -> EchoPacket | None:
    """An echo reply, or our own request as an ICMP error quotes it; None for anything else."""
    if len(data) < _HEADER.size:
        return None
    kind, _, _, _, seq = _HEADER.unpack_from(data)
    if kind not in {REQUEST[family], REPLY[family]}:
        return None
    token = data[_HEADER.size : _HEADER.size + TOKEN_BYTES]
    return EchoPacket(kind == REPLY[family], seq, token)


def summarise(answers: Sequence[EchoAnswer]) -> EchoSummary:
    """The row of a slot from the answers to its requests.

    Requests that never left this machine count only when none did: then the slot is a fault of this
    vantage. One reply makes the slot good with partial loss. Without any, the commonest word that
    is more than silence is the slot's word: a router that says why is worth more than the requests
    it swallowed after that, routers being free to limit their errors.
    """
    sent = [answer for answer in answers if answer.sent] or list(answers)
    good = [answer for answer in sent if answer.failure is None]
    rtts = [answer.rtt_us for answer in good if answer.rtt_us is not None]
    decisive = None if good else _decisive(sent)
    sources = {answer.stamp_source for answer in good}
    kernel = StampSource.KERNEL if sources == {StampSource.KERNEL} else StampSource.USER
    return EchoSummary(
        sent=len(sent),
        lost=len(sent) - len(good),
        failure=None if decisive is None else decisive.failure,
        icmp=None if decisive is None else decisive.icmp,
        rtt_us_min=min(rtts, default=None),
        rtt_us_median=round(statistics.median(rtts)) if rtts else None,
        rtt_us_max=max(rtts, default=None),
        stamp_source=kernel if good else None,
    )


def _decisive(answers: Sequence[EchoAnswer]) -> EchoAnswer:
    """The answer that names the slot's failure: the first of the commonest kind, silence last."""
    telling = [answer for answer in answers if answer.failure is not Failure.TIMEOUT]
    if not telling:
        return answers[0]
    word = Counter(answer.failure for answer in telling).most_common(1)[0][0]
    return next(answer for answer in telling if answer.failure is word)
