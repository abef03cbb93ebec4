"""The hop table: one line per hop and router, marks as people know them."""

from __future__ import annotations

import pytest

from probe.core.explain import show_us
from probe.core.explainhops import hop_table, mark_of
from proto.model import Hop


def hop(ttl: int, packet: int = 0, router: str | None = None, rtt_us: int | None = None) -> Hop:
    """A hop on the way, silent without a router."""
    if router is None:
        return Hop(ttl=ttl, packet=packet)
    return Hop(ttl=ttl, packet=packet, router=router, rtt_us=rtt_us, icmp_type=11, icmp_code=0)


def test_a_table_shows_each_packet_of_each_hop() -> None:
    """Two routers of one hop have a line each; silence is a star, an unknown time a question."""
    refusal = Hop(ttl=4, packet=0, router="192.0.2.3", rtt_us=1500, icmp_type=3, icmp_code=13)
    strange = Hop(ttl=4, packet=1, router="192.0.2.3", rtt_us=1500, icmp_type=12, icmp_code=1)
    hops = [
        *(hop(1, n, "10.0.0.1", 412 + n) for n in range(3)),
        *(hop(2, n) for n in range(3)),
        hop(3, 0, "192.0.2.1", 900), hop(3, 1, "192.0.2.2"), hop(3, 2),
        refusal, strange,
    ]  # fmt: skip
    assert hop_table(hops, family=4, show_us=show_us) == [
        "hop  router and round trip of each packet",
        "  1  10.0.0.1          0.412 ms   0.413 ms   0.414 ms",
        "  2  *                        *          *          *",
        "  3  192.0.2.1         0.900 ms",
        "  3  192.0.2.2                ?          *",
        "  4  192.0.2.3         1.500 ms !X   1.500 ms !12/1",
        "     !X prohibited by an administrator",
    ]


def test_without_hops_there_is_no_table() -> None:
    """A check that is no trace shows nothing of it."""
    assert hop_table((), family=4, show_us=show_us) == []


@pytest.mark.parametrize(
    ("family", "icmp", "mark"),
    [
        (4, (11, 0), ""), (6, (3, 0), ""), (4, (None, None), ""),
        (4, (3, 0), "!N"), (4, (3, 1), "!H"), (4, (3, 3), "!P"), (4, (3, 13), "!X"),
        (6, (1, 0), "!N"), (6, (1, 1), "!X"), (6, (1, 3), "!H"), (6, (4, 0), "!4/0"),
    ],
)  # fmt: skip
def test_marks_are_those_of_traceroute(
    family: int, icmp: tuple[int | None, int | None], mark: str
) -> None:
    """A refusal has its letter, any other error its numbers, a hop on the way nothing."""
    one = Hop(ttl=1, packet=0, router="192.0.2.1", icmp_type=icmp[0], icmp_code=icmp[1])
    assert mark_of(one, family) == mark
