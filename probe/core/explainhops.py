"""The hops of a trace as a table: who answered at each, after how long, and what a refusal means.

The marks are those of traceroute(8), so that people need not learn new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final

from proto.model import Hop

_MARKS: Final = {
    "!N": "network unreachable",
    "!H": "host unreachable",
    "!P": "protocol or port unreachable",
    "!S": "source route failed or beyond scope",
    "!F": "fragmentation needed",
    "!X": "prohibited by an administrator",
    "!V": "precedence violation",
    "!C": "precedence cut off",
}
_TIME_EXCEEDED: Final = frozenset({(4, 11), (6, 3)})
_MARK_OF: Final = {
    (4, 3, 0): "!N", (4, 3, 6): "!N", (4, 3, 11): "!N",
    (4, 3, 1): "!H", (4, 3, 7): "!H", (4, 3, 8): "!H", (4, 3, 12): "!H",
    (4, 3, 2): "!P", (4, 3, 3): "!P",
    (4, 3, 4): "!F", (4, 3, 5): "!S",
    (4, 3, 9): "!X", (4, 3, 10): "!X", (4, 3, 13): "!X",
    (4, 3, 14): "!V", (4, 3, 15): "!C",
    (6, 1, 0): "!N", (6, 1, 1): "!X", (6, 1, 2): "!S", (6, 1, 3): "!H", (6, 1, 4): "!P",
    (6, 1, 5): "!X", (6, 1, 6): "!X", (6, 4, 1): "!P",
}  # fmt: skip


def hop_table(hops: Sequence[Hop], *, family: int, show_us: Callable[[int], str]) -> list[str]:
    """Lines for people, one per hop and router; then what the marks in them mean.

    `*` is a packet that nobody answered. `show_us` writes a round trip.
    """
    if not hops:
        return []
    lines = ["hop  router and round trip of each packet"]
    for ttl, packets in groupby(hops, key=lambda hop: hop.ttl):
        lines += [f"{ttl:3}  {text}" for text in _by_router(list(packets), family, show_us)]
    marks = sorted({mark for hop in hops if (mark := mark_of(hop, family)) in _MARKS})
    return [*lines, *(f"     {mark} {_MARKS[mark]}" for mark in marks)]


def _by_router(packets: list[Hop], family: int, show_us: Callable[[int], str]) -> Iterable[str]:
    """The packets of one hop, those of one router together, in the order of their first packet."""
    routers = list(dict.fromkeys(hop.router for hop in packets if hop.router is not None))
    silent = [f"{'*':>10}" for hop in packets if hop.router is None]
    if not routers:
        return [f"{'*':<15} {' '.join(silent)}"]
    lines = [
        f"{router:<15} "
        + " ".join(_packet(hop, family, show_us) for hop in packets if hop.router == router)
        for router in routers
    ]
    return [*lines[:-1], " ".join([lines[-1], *silent])]


def _packet(hop: Hop, family: int, show_us: Callable[[int], str]) -> str:
    time = f"{'?' if hop.rtt_us is None else show_us(hop.rtt_us):>10}"
    mark = mark_of(hop, family)
    return f"{time} {mark}" if mark else time


def mark_of(hop: Hop, family: int) -> str:
    """The mark of a refusal; empty for an answer that says no more than where the packet was."""
    if hop.icmp_type is None or hop.icmp_code is None or (family, hop.icmp_type) in _TIME_EXCEEDED:
        return ""
    known = _MARK_OF.get((family, hop.icmp_type, hop.icmp_code))
    return f"!{hop.icmp_type}/{hop.icmp_code}" if known is None else known
