"""What a probe says of itself is the same at both ends of the wire."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from proto.model import Heartbeat, Hello, HostLimits, WireError
from proto.session_codec import (
    heartbeat_from_wire,
    heartbeat_to_wire,
    hello_from_wire,
    hello_to_wire,
)

HELLO = Hello(
    boot_id="b", version="0.1.0", epoch=5, next_seq=1, backlog_rows=0, evicted_rows=0,
    plan_version=2, families=(4, 6), capabilities=("icmp4",), plan_since_us=8,
    limits=HostLimits(),
)  # fmt: skip


def test_hello_round_trip() -> None:
    """The first message of a session says the same at both ends."""
    for hello in (HELLO, replace(HELLO, plan_version=0, plan_since_us=None, limits=None)):
        assert hello_from_wire(hello_to_wire(hello, sent_at_us=9)) == hello


@pytest.mark.parametrize(
    "hello",
    [
        replace(HELLO, boot_id=""),
        replace(HELLO, boot_id="b" * 200),
        replace(HELLO, version="v" * 200),
        replace(HELLO, families=(5,)),
        replace(HELLO, capabilities=("c",) * 200),
        replace(HELLO, limits=HostLimits(checks_per_s=math.nan)),
        replace(HELLO, limits=HostLimits(per_target_per_minute=math.inf)),
        replace(HELLO, limits=HostLimits(concurrent=0)),
    ],
)
def test_a_hello_out_of_bounds_is_refused(hello: Hello) -> None:
    """A hello that could fill a log, or names a family or limit that cannot be, is refused."""
    with pytest.raises(WireError, match="hello: "):
        hello_from_wire(hello_to_wire(hello, sent_at_us=0))


@pytest.mark.parametrize("known", [True, False])
def test_heartbeat_round_trip(known: bool) -> None:
    """What a probe does not know of itself stays unknown."""
    beat = Heartbeat(
        sent_at_us=1,
        plan_version=2,
        uptime_s=3.5,
        rss_bytes=4 if known else None,
        cpu_s=0.25,
        spool_bytes=6,
        spool_rows=7,
        evicted_rows=0,
        queue_depth=0,
        lateness_us_p99=8 if known else None,
        receive_drops=0 if known else None,
        clock_synchronised=False if known else None,
        plan_since_us=9 if known else None,
        overloaded_slots=10,
        clock_drift_ppb=-11 if known else None,
        translated=False if known else None,
    )
    assert heartbeat_from_wire(heartbeat_to_wire(beat)) == beat
