"""Strategies for the values that cross the wire: every field of every row, missing or not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from proto.columns import COLUMNS, Column, Encoding
from proto.model import Certificate, Check, Control, Hop, Kind, Plan, Report, Result

SLOT_MAX = 2**52  # the year 2112 in microseconds


def _column(column: Column) -> st.SearchStrategy[Any]:
    if column.encoding is Encoding.TEXT:
        return st.none() | st.text(max_size=12)
    if column.encoding is Encoding.ZIGZAG:
        return st.none() | st.integers(-(2**62), 2**62)
    if column.boolean:
        return st.none() | st.booleans()
    plain = st.sampled_from(column.words) if column.words else st.integers(0, 2**32 - 2)
    return plain if column.encoding is Encoding.PLAIN else st.none() | plain


_NAME = st.none() | st.text(max_size=12)
_SMALL = st.none() | st.integers(0, 2**32 - 2)

hops = st.builds(
    Hop,
    ttl=st.integers(0, 2**32 - 1),
    packet=st.integers(0, 2**32 - 1),
    router=_NAME,
    rtt_us=_SMALL,
    icmp_type=_SMALL,
    icmp_code=_SMALL,
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Any row the wire can carry, sensible or not."""
    slot = draw(st.integers(0, SLOT_MAX))
    started = draw(st.none() | st.integers(0, SLOT_MAX))
    fields = {column.name: draw(_column(column)) for column in COLUMNS}
    return Result(
        check_no=draw(st.integers(0, 2**32 - 1)),
        slot_at_us=slot,
        started_at_us=started,
        hops=tuple(draw(st.lists(hops, max_size=2))),
        **fields,
    )


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """One to four rows and up to two certificates: a row has some sixty draws, which take their time."""
    from proto.codec import fingerprint  # noqa: PLC0415 - keeps this module importable by itself

    ders = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=2))
    rows = draw(st.lists(results(), min_size=1, max_size=4))
    return Report(tuple(rows), tuple(Certificate(fingerprint(der), der) for der in ders))


_SECONDS = st.integers(1, 3_600_000).map(lambda ms: ms / 1000)

checks = st.builds(
    Check,
    check_no=st.integers(0, 2**32 - 1),
    check_id=st.text(max_size=30),
    kind=st.sampled_from(Kind),
    host=st.text(max_size=30),
    port=st.none() | st.integers(1, 65535),
    family=st.sampled_from([4, 6]),
    interval_s=_SECONDS,
    timeout_s=_SECONDS,
    packets=st.integers(1, 100),
    use_tls=st.booleans(),
    path=st.text(max_size=30),
    method=st.sampled_from(["GET", "HEAD"]),
    expect_status=st.lists(st.integers(100, 599), max_size=4).map(tuple),
    expect_body=st.none() | st.text(max_size=30),
    body_cap_bytes=st.integers(0, 2**20),
    qtype=st.sampled_from(["A", "AAAA", "NS"]),
    server=st.none() | st.text(max_size=30),
    expect_answers=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    pinned=st.none() | st.text(max_size=30),
    follow_redirects=st.integers(0, 5),
    control=st.none() | st.sampled_from(Control),
    sni=st.none() | st.text(max_size=30),
    http_versions=st.lists(st.sampled_from(["1.1", "2"]), max_size=2).map(tuple),
    expect_sha256=st.none() | st.text(max_size=30),
    max_hops=st.integers(1, 64),
    on_failure=st.lists(st.integers(0, 2**32 - 1), max_size=3).map(tuple),
    confirm_after_s=st.lists(_SECONDS, max_size=3).map(tuple),
)

plans = st.builds(
    Plan,
    version=st.integers(0, 2**63),
    checks=st.lists(checks, max_size=4).map(tuple),
    issued_at_us=st.integers(0, SLOT_MAX),
    heartbeat_s=_SECONDS,
    flush_s=_SECONDS,
    flush_rows=st.integers(1, 20_000),
    user_agent=st.text(max_size=40),
)
