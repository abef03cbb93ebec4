from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.memory import ADDRESSES_MAX, KEEP_S, NAMES_MAX, AddressMemory

DAY_US = KEEP_S * 1_000_000
NOW_US = 10**15
NAMES = st.sampled_from(["a.test", "b.test", "A.Test."])
ADDRESSES = st.integers(1, 40).map(lambda number: str(ipaddress.IPv4Address(number)))
ANSWERS = st.lists(ADDRESSES, max_size=ADDRESSES_MAX, unique=True)
LOOKS = st.lists(st.tuples(st.integers(0, DAY_US // 3), NAMES, ANSWERS), max_size=30)


def remembered(looks: list[tuple[int, str, list[str]]]) -> tuple[AddressMemory, int]:
    """A memory after these looks, each so long after the one before, and the instant of the last."""
    memory, now_us = AddressMemory(), NOW_US
    for later_us, name, answer in looks:
        now_us += later_us
        memory.remember(name, answer, family=4, now_us=now_us)
    return memory, now_us


def seen_at(looks: list[tuple[int, str, list[str]]], name: str) -> dict[str, int]:
    """When each address of a name was last seen, without any bound."""
    seen, now_us = {}, NOW_US
    for later_us, looked_for, answer in looks:
        now_us += later_us
        if looked_for.lower().rstrip(".") == name:
            seen.update(dict.fromkeys(answer, now_us))
    return seen


@given(LOOKS, st.integers(0, 2 * DAY_US))
def test_names_with_a_young_address_are_counted(
    looks: list[tuple[int, str, list[str]]], later_us: int
) -> None:
    """As many as `recall` finds something for."""
    memory, now_us = remembered(looks)
    at_us = now_us + later_us
    found = [memory.recall(name, family=4, now_us=at_us) for name in ("a.test", "b.test")]
    assert memory.young(now_us=at_us) == sum(map(bool, found))


@given(LOOKS, st.integers(0, 2 * DAY_US))
def test_nothing_older_than_a_day_is_recalled(
    looks: list[tuple[int, str, list[str]]], later_us: int
) -> None:
    """What comes back was seen in the last 24 h, however old the rest of the memory is."""
    memory, now_us = remembered(looks)
    at_us = now_us + later_us
    seen = seen_at(looks, "a.test")
    for address in memory.recall("a.test", family=4, now_us=at_us):
        assert at_us - seen[address] < DAY_US


@given(LOOKS)
def test_it_is_bounded_and_the_newest_wins(looks: list[tuple[int, str, list[str]]]) -> None:
    """Never more than the bound; what it holds are the addresses seen last, newest first."""
    memory, now_us = remembered(looks)
    seen = seen_at(looks, "a.test")
    young = {address: at_us for address, at_us in seen.items() if now_us - at_us < DAY_US}
    recalled = memory.recall("a.test", family=4, now_us=now_us)
    assert len(recalled) == min(len(young), ADDRESSES_MAX)
    assert [young[a] for a in recalled] == sorted(young.values(), reverse=True)[: len(recalled)]


@given(LOOKS, ANSWERS)
def test_the_current_answer_is_left_out(
    looks: list[tuple[int, str, list[str]]], but: list[str]
) -> None:
    """What the name has now is not remembered, it is known; the rest stays in order."""
    memory, now_us = remembered(looks)
    everything = memory.recall("b.test", family=4, now_us=now_us)
    left = memory.recall("B.test.", family=4, now_us=now_us, but=but)
    assert left == tuple(address for address in everything if address not in but)


@given(LOOKS, st.integers(0, DAY_US))
def test_a_restart_forgets_nothing(looks: list[tuple[int, str, list[str]]], later_us: int) -> None:
    """What was written and read again recalls the same."""
    memory, now_us = remembered(looks)
    at_us = now_us + later_us
    again = AddressMemory.load(memory.dump(now_us=at_us))
    for name in ("a.test", "b.test"):
        assert again.recall(name, family=4, now_us=at_us) == memory.recall(
            name, family=4, now_us=at_us
        )


def test_what_is_older_than_a_day_is_not_written() -> None:
    """A file that is read much later holds nothing that was too old when it was written."""
    memory, _ = remembered([(0, "a.test", ["192.0.2.1"]), (0, "b.test", [])])
    assert json.loads(memory.dump(now_us=NOW_US + DAY_US))["names"] == []
    assert len(memory) == 1


def test_the_name_looked_for_longest_ago_is_forgotten() -> None:
    """The number of names is bounded over both families."""
    memory = AddressMemory()
    for number in range(NAMES_MAX):
        memory.remember(f"{number}.test", ["192.0.2.1"], family=4, now_us=NOW_US)
    memory.remember("0.test", ["192.0.2.1"], family=4, now_us=NOW_US)
    memory.remember("0.test", ["2001:db8::1"], family=6, now_us=NOW_US)
    assert len(memory) == NAMES_MAX
    assert memory.recall("0.test", family=4, now_us=NOW_US) == ("192.0.2.1",)
    assert memory.recall("0.test", family=6, now_us=NOW_US) == ("2001:db8::1",)
    assert memory.recall("1.test", family=4, now_us=NOW_US) == ()


def test_the_beginning_of_an_endless_answer_is_enough() -> None:
    """More addresses than are kept push out the older ones, not each other."""
    memory = AddressMemory()
    many = [str(ipaddress.IPv4Address(number)) for number in range(ADDRESSES_MAX + 5)]
    memory.remember("a.test", many, family=4, now_us=NOW_US)
    assert set(memory.recall("a.test", family=4, now_us=NOW_US)) == set(many[:ADDRESSES_MAX])


def test_an_entry_from_the_future_is_not_used() -> None:
    """After the clock was set back its age is not known, until it is seen again."""
    memory = AddressMemory()
    memory.remember("a.test", ["192.0.2.1"], family=4, now_us=NOW_US)
    assert memory.recall("a.test", family=4, now_us=NOW_US - 1) == ()
    memory.remember("a.test", ["192.0.2.1"], family=4, now_us=NOW_US - 1)
    assert memory.recall("a.test", family=4, now_us=NOW_US - 1) == ("192.0.2.1",)


def _file(*names: Any, version: int = 1) -> bytes:
    return json.dumps({"version": version, "names": names}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        _file(version=2),
        _file(["a.test", 4]),
        _file(["a.test", 4, [["192.0.2.1"]]]),
        _file(["a.test", 4, [["192.0.2.1", "now"]]]),
        _file(["a.test", 4, [["192.0.2.1", True]]]),
        _file(["a.test", 6, [["192.0.2.1", 1]]]),
        _file(["a.test", 4, [["x.test", 1]]]),
        _file([4, 4, [["192.0.2.1", 1]]]),
    ],
)
def test_a_damaged_file_is_one_error(content: bytes) -> None:
    """Whatever is in it, the error is the one that says so."""
    with pytest.raises(ValueError, match="it holds no remembered addresses"):
        AddressMemory.load(content)


@given(st.binary(max_size=60))
def test_noise_is_no_memory(content: bytes) -> None:
    """No bytes lead to another error."""
    with pytest.raises(ValueError, match="it holds no remembered addresses"):
        AddressMemory.load(content)
