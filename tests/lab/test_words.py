"""Every failure word, driven by a real fault, and the same fault seen by programs of others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from proto.model import Failure, Kind, Operation, Validity
from tests.lab.word_bench import (
    TARGET,
    Bench,
    Observed,
    Row,
    Sender,
    finish,
    observe,
    running_bench,
    start,
)
from tests.lab.word_rows import TRANSIT, scripts
from tests.lab.word_table import SCENES, UNDRIVEN
from tests.lab.word_tools import ping

pytestmark = pytest.mark.lab

Observe = Callable[[str], tuple[Observed, ...]]
BUFFER_MAX = (
    4 << 20
)  # what the probe asks for; without rights it gets rmem_max, which Linux doubles
REPLY_TAKES = 832  # bytes of the buffer, for an echo reply on a cable of the lab
STILL_ON_THE_WAY = 2000  # replies, at most, when the loop begins to read
ROWS = [(name, place) for name, scene in SCENES.items() for place in range(len(scene.rows))]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One network for all scenes; each takes its fault back."""
    with running_bench(tmp_path_factory.mktemp("words"), scripts) as running:
        yield running


@pytest.fixture(scope="module")
def observed(bench: Bench) -> Observe:
    """What a scene came to; each is played once, at the first question."""
    return cache(lambda name: observe(bench, SCENES[name]))


def _name(scene: str, place: int) -> str:
    row = SCENES[scene].rows[place]
    return f"{scene}-{row.word}-{row.operation}-{row.kind}{row.family}-{place}"


@pytest.mark.parametrize(("scene", "place"), ROWS, ids=[_name(*row) for row in ROWS])
def test_word(bench: Bench, observed: Observe, scene: str, place: int) -> None:
    """Word, operation, ICMP detail, sender, validity and time; and what others say of it."""
    found = observed(scene)[place]
    row, result = found.row, found.seen.outcome.result
    decided = [attempt for attempt in found.seen.outcome.attempts if attempt.failure is not None]
    assert (result.failure, result.operation) == (row.word, row.operation), decided
    icmp = None if result.icmp_type is None else (result.icmp_type, result.icmp_code)
    assert (icmp, result.router) == (row.icmp, _address(bench, row.router, row.family))
    assert result.family == row.family
    assert result.validity is (Validity.PROBE_FAULT if row.word.is_local else Validity.OK)
    assert decided[-1].failure is row.word
    assert decided[-1].classified_by.endswith(f"-> {row.word}")
    if row.operation is Operation.CONNECT and row.icmp is not None and bench.round_trip_s:
        assert result.retransmits == 0, "an error answers the first SYN"
    least, most = row.seconds
    least = max(least, SCENES[scene].round_trips * bench.round_trip_s)
    assert least <= found.seen.elapsed_s <= most
    for says, ran in found.tools:
        assert ran.exit_code == says.exit_code, ran.output
        assert re.search(_filled(bench, says.pattern(row.family), found), ran.output), ran.output


def _address(bench: Bench, machine: Sender | None, family: int) -> str | None:
    if machine is None:
        return None
    if isinstance(machine, tuple):
        return bench.network.topology.link(*machine).address(machine[0], family)
    return (
        bench.address(machine, family)
        if machine == TARGET
        else bench.router_address(machine, family)
    )


def _filled(bench: Bench, pattern: str, found: Observed) -> str:
    """The pattern with the addresses of routers in the place of their names."""
    row = found.row
    for name, machine in (("{router}", row.router), ("{transit}", TRANSIT)):
        address = _address(bench, machine, row.family)
        if address is not None:
            pattern = pattern.replace(name, re.escape(address))
    return pattern


@pytest.mark.parametrize("family", [4, 6])
def test_replies_that_our_machine_drops_are_its_overload(bench: Bench, family: int) -> None:
    """More replies than the receive buffer holds come while the loop stands still: not loss."""
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii"))
    count = 2 * min(limit, BUFFER_MAX) // REPLY_TAKES + STILL_ON_THE_WAY
    row = Row(
        word=Failure.LOCAL_OVERLOAD,
        operation=Operation.ECHO,
        kind=Kind.ICMP,
        family=family,
        fields={"timeout_s": 1.0},
    )
    says = ping(r"3 received, 0% packet loss", exit_code=0, count=3)
    beside = start(bench, bench.station, says, row)
    seen = bench.station.run([row.check(bench)] * count, stall_s=0.5)
    ran = finish(beside)
    words = Counter(one.outcome.result.failure for one in seen)
    assert set(words) <= {None, Failure.LOCAL_OVERLOAD}, words
    assert words[Failure.LOCAL_OVERLOAD] > 0
    failed = [one.outcome.result for one in seen if one.outcome.result.failure is not None]
    assert {result.validity for result in failed} == {Validity.PROBE_FAULT}
    assert {result.operation for result in failed} == {Operation.ECHO}
    assert ran.exit_code == 0, ran.output
    assert re.search(says.pattern(family), ran.output), ran.output


def test_every_word_is_driven() -> None:
    """The table covers the closed vocabulary, but for what it says it does not."""
    driven = {row.word for scene in SCENES.values() for row in scene.rows}
    assert driven | set(UNDRIVEN) == set(Failure)
    assert not driven & set(UNDRIVEN)


def test_every_word_is_driven_in_both_families() -> None:
    """IPv6 is not taken on trust."""
    pairs = {(row.word, row.family) for scene in SCENES.values() for row in scene.rows}
    assert {word for word, _ in pairs} == {word for word, family in pairs if family == 6}
    assert {word for word, _ in pairs} == {word for word, family in pairs if family == 4}
