"""From the words of a row to one outcome per channel: what was seen, in the terms of the model.

Each kind of check is a channel of its own, so that one failure is not counted thrice. `http` and
`tls` keep the first phase that failed. A phase that was not reached was not attempted: it yields no
outcome at all, never a failure. The same holds for `local_*` failures, which say something about
the probe and nothing about the target.

Every channel's list starts with the good outcome and the slow one, so that `outcome <= 1` reads
"answered" for all of them. One column after the listed outcomes stands `UNSPECIFIC`: it failed, but
the row does not say how. It is scored as the sum of all failures, so it never favours one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proto.model import Failure, Kind, Operation

GOOD: Final = 0
SLOW: Final = 1

# A good answer is slow when it took twice its cell's median, stands out from its cell's spread (z of
# the log time against the median absolute deviation), and by an amount that no scheduler explains.
# A cell needs some good answers in its history before it can call anything slow. All of it is relative
# to what the same vantage point's controls do over the same kind of check in the same bin: their median
# lag is taken off first, because a busy machine or a full access line delays everybody's answers. The
# limits: fewer controls with an answer in the bin than SLOW_MIN_CONTROLS take nothing off; a delay that
# most controls share by accident hides as much of the target's own; one on the target's side of the way
# stays. The rule runs where the rows are counted (sql/counts.sql), with these figures bound.
SLOW_FACTOR: Final = 2.0
SLOW_Z: Final = 5.0
SLOW_EXCESS_MS: Final = 5.0
SLOW_SPREAD_FLOOR: Final = 0.05  # of log time: cells steadier than that are still allowed to move
SLOW_MIN_HISTORY: Final = 4
SLOW_MIN_CONTROLS: Final = 3  # as many as the source axis asks for
MAD_TO_SIGMA: Final = 1.4826  # for a normal distribution

# Traces are not here: they show a way, and are in no cell.
OUTCOMES: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.ICMP: ("reply", "highrtt", "loss", "unreach"),
    Kind.TCP: ("ok", "slow", "timeout", "rst", "unreach"),
    Kind.HTTP: (
        "OK", "SLOW", "DNS_ERR", "DNS_TMO", "DNS_BOGUS", "TCP_TMO", "TCP_RST", "TCP_UNR",
        "TLS_TMO", "TLS_RST", "TLS_CERT", "H5XX", "H_TMO", "H_BLOCK", "H_DIFF",
    ),
    Kind.DNS: ("ok", "slow", "err", "timeout", "bogus"),
    Kind.TLS: (
        "OK", "SLOW", "DNS_ERR", "DNS_TMO", "DNS_BOGUS", "TCP_TMO", "TCP_RST", "TCP_UNR",
        "TLS_TMO", "TLS_RST", "TLS_CERT",
    ),
}  # fmt: skip

_F = Failure
_SILENT: Final = frozenset({_F.TIMEOUT, _F.DNS_TIMEOUT})
_UNREACHABLE: Final = frozenset(
    {
        _F.NET_UNREACHABLE, _F.HOST_UNREACHABLE, _F.PROHIBITED, _F.TTL_EXCEEDED, _F.LOOP,
        _F.REJECTED,
    }
)  # fmt: skip
_CERTIFICATE: Final = frozenset(
    {_F.TLS_EXPIRED, _F.TLS_NOT_YET_VALID, _F.TLS_NAME_MISMATCH, _F.TLS_UNTRUSTED}
)
# Answers by which a server turns someone away: rate limits, bans, legal blocks, challenges.
BLOCK_STATUS: Final = frozenset({401, 403, 429, 451})
# The step that a check of this kind was made for, where a row does not say which one failed.
_OWN_STEP: Final = {
    Kind.ICMP: Operation.ECHO,
    Kind.TCP: Operation.CONNECT,
    Kind.HTTP: Operation.REPLY,
    Kind.DNS: Operation.RESOLVE,
    Kind.TLS: Operation.TLS,
}


def unspecific(kind: Kind) -> int:
    """The column for a failure without words."""
    return len(OUTCOMES[kind])


def failure_outcome(
    kind: Kind,
    *,
    operation: Operation | None,
    failure: Failure | None,
    http_status: int | None,
) -> int | None:
    """The outcome of the lost attempts of a row; None when they say nothing about the target.

    A lost echo needs no word: that an answer is missing is all there is to know.
    """
    if failure is not None and failure.is_local:
        return None
    if failure is None or failure is Failure.UNKNOWN:
        return _index(kind, "loss") if kind is Kind.ICMP else unspecific(kind)
    step = operation or _step_of(kind, failure)
    if step is Operation.RESOLVE and kind in {Kind.ICMP, Kind.TCP}:
        return None
    name = _NAMED[kind](step, failure, http_status)
    return _index(kind, name)


def _index(kind: Kind, name: str | None) -> int:
    """A row may claim a step that its kind does not have; then all it tells is that it failed."""
    names = OUTCOMES[kind]
    return names.index(name) if name in names else unspecific(kind)


def _step_of(kind: Kind, failure: Failure) -> Operation:
    """The step that a failure's prefix names; a refusal can only come from the connect."""
    if failure.value.startswith("dns_"):
        return Operation.RESOLVE
    if failure.value.startswith("tls_"):
        return Operation.TLS
    if failure.value.startswith("http_"):
        return Operation.REPLY
    if kind in {Kind.HTTP, Kind.TLS} and (failure is _F.REFUSED or failure in _UNREACHABLE):
        return Operation.CONNECT
    return _OWN_STEP[kind]


def _icmp(_step: Operation, failure: Failure, _status: int | None) -> str:
    return "unreach" if failure in _UNREACHABLE else "loss"


def _tcp(_step: Operation, failure: Failure, _status: int | None) -> str | None:
    if failure in _SILENT:
        return "timeout"
    if failure in {_F.REFUSED, _F.RESET}:
        return "rst"
    return "unreach" if failure in _UNREACHABLE else None


def _dns(_step: Operation, failure: Failure, _status: int | None) -> str:
    if failure is _F.DNS_MISMATCH:
        return "bogus"
    # A name server that refuses the packet is as silent, to whoever asks, as one that is gone.
    silent = failure in _SILENT or failure in _UNREACHABLE or failure is _F.REFUSED
    return "timeout" if silent else "err"


def _first_phase(step: Operation, failure: Failure, status: int | None) -> str | None:
    """The phase of a web request in which it failed first, and how."""
    if step is Operation.RESOLVE:
        return {"bogus": "DNS_BOGUS", "timeout": "DNS_TMO", "err": "DNS_ERR"}[
            _dns(step, failure, status)
        ]
    if step is Operation.CONNECT:
        short = _tcp(step, failure, status)
        return {"timeout": "TCP_TMO", "rst": "TCP_RST", "unreach": "TCP_UNR"}.get(short or "")
    if step is Operation.TLS:
        if failure in _CERTIFICATE:
            return "TLS_CERT"
        return "TLS_TMO" if failure in _SILENT else "TLS_RST"
    return _reply(failure, status)


def _reply(failure: Failure, status: int | None) -> str:
    if failure is _F.HTTP_STATUS and status is not None:
        if status in BLOCK_STATUS:
            return "H_BLOCK"
        return "H5XX" if status >= 500 else "H_DIFF"
    if failure is _F.HTTP_STATUS:
        return "H5XX"  # an error status that was not written down: the common one
    content = {_F.HTTP_CONTENT, _F.HTTP_MALFORMED, _F.HTTP_REDIRECT}
    if failure in content:
        return "H_DIFF"
    # A connection that dies under the request is the server giving up, as a 502 in front of it is.
    gave_up = {_F.RESET, _F.REFUSED, _F.HTTP_TRUNCATED}
    return "H5XX" if failure in gave_up else "H_TMO"


_NAMED: Final = {
    Kind.ICMP: _icmp,
    Kind.TCP: _tcp,
    Kind.HTTP: _first_phase,
    Kind.TLS: _first_phase,
    Kind.DNS: _dns,
}
