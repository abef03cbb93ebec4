"""The bridge between what a probe says of itself (`proto.model`) and its messages on the wire.

Like `proto.codec`: a `*_from_wire` raises WireError with a reason fit for a log and for the peer.
"""

from __future__ import annotations

import math
from dataclasses import asdict, astuple
from typing import Any, Final

from proto.gen import fleet_pb2
from proto.model import Heartbeat, Hello, HostLimits, WireError

_NAME_MAX: Final = 128
"""Characters in a name that a probe chooses: enough for any, too little to fill a log."""


def hello_to_wire(hello: Hello, *, sent_at_us: int) -> fleet_pb2.Hello:
    """First message of a session; `sent_at_us` lets the coordinator see a gross clock error."""
    return fleet_pb2.Hello(
        boot_id=hello.boot_id,
        version=hello.version,
        epoch=hello.epoch,
        next_seq=hello.next_seq,
        backlog_rows=hello.backlog_rows,
        evicted_rows=hello.evicted_rows,
        plan_version=hello.plan_version,
        families=hello.families,
        capabilities=hello.capabilities,
        sent_at_us=sent_at_us,
        plan_since_us=hello.plan_since_us,
        limits=None if hello.limits is None else fleet_pb2.HostLimits(**asdict(hello.limits)),
    )


def hello_from_wire(message: fleet_pb2.Hello) -> Hello:
    """Raises WireError when it names no boot, no epoch or a family other than 4 and 6."""
    _require(0 < len(message.boot_id) <= _NAME_MAX, "hello: boot_id is empty or too long")
    _require(len(message.version) <= _NAME_MAX, "hello: version is too long")
    _require(set(message.families) <= {4, 6}, f"hello: families are {list(message.families)}")
    _require(len(message.capabilities) <= _NAME_MAX, "hello: too many capabilities")
    _require(message.epoch > 0, "hello: epoch is 0; it must be higher at every start")
    return Hello(
        boot_id=message.boot_id,
        version=message.version,
        epoch=message.epoch,
        next_seq=message.next_seq,
        backlog_rows=_said(message, "backlog_rows"),
        evicted_rows=_said(message, "evicted_rows"),
        plan_version=message.plan_version,
        families=tuple(message.families),
        capabilities=tuple(message.capabilities),
        plan_since_us=_said(message, "plan_since_us"),
        limits=_limits(message.limits) if message.HasField("limits") else None,
    )


def _limits(message: fleet_pb2.HostLimits) -> HostLimits:
    limits = HostLimits(
        checks_per_s=message.checks_per_s,
        per_target_per_minute=message.per_target_per_minute,
        concurrent=message.concurrent,
        concurrent_https=message.concurrent_https,
        outstanding_icmp=message.outstanding_icmp,
    )
    sound = all(math.isfinite(limit) and limit > 0 for limit in astuple(limits))
    _require(sound, "hello: a limit is not a number above 0")
    return limits


_MAY_BE_LEFT_OUT: Final = (
    "rss_bytes", "spool_bytes", "spool_rows", "evicted_rows", "queue_depth", "lateness_us_p99",
    "receive_drops", "clock_synchronised", "plan_since_us", "overloaded_slots", "clock_drift_ppb",
    "translated",
)  # fmt: skip
"""What a heartbeat need not have, under the same name on both sides."""


def heartbeat_to_wire(beat: Heartbeat) -> fleet_pb2.Heartbeat:
    """What a probe says of itself; what it does not know is left out."""
    return fleet_pb2.Heartbeat(
        sent_at_us=beat.sent_at_us,
        plan_version=beat.plan_version,
        uptime_ms=None if beat.uptime_s is None else _ms(beat.uptime_s),
        cpu_ms=None if beat.cpu_s is None else _ms(beat.cpu_s),
        **{name: getattr(beat, name) for name in _MAY_BE_LEFT_OUT},
    )


def heartbeat_from_wire(message: fleet_pb2.Heartbeat) -> Heartbeat:
    """Every heartbeat that parses is a heartbeat: its numbers are the probe's own claims."""
    uptime_ms, cpu_ms = _said(message, "uptime_ms"), _said(message, "cpu_ms")
    return Heartbeat(
        sent_at_us=message.sent_at_us,
        plan_version=message.plan_version,
        uptime_s=None if uptime_ms is None else uptime_ms / 1000,
        cpu_s=None if cpu_ms is None else cpu_ms / 1000,
        **{name: _said(message, name) for name in _MAY_BE_LEFT_OUT},
    )


def _said(message: fleet_pb2.Heartbeat | fleet_pb2.Hello, name: Any) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise WireError(reason)
