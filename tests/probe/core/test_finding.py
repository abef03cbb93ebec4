"""How findings are told."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from probe.core.finding import (
    COLUMNS,
    ENDS,
    Finding,
    Level,
    as_data,
    broken,
    exit_code,
    joined,
    limited,
    render,
    well,
)
from probe.doctor import EXAMPLES

PAGE = """\
broken   clock: off
         costs  time
         fix    mend it
                # or not

limited  disk: small
         costs  rows
         fix    buy one

ok       IPv4: here

1 ok, 1 limited, 1 broken
"""
FINDINGS = (
    well("IPv4", "here"),
    limited("disk", "small", costs="rows", fix="buy one"),
    broken("clock", "off", costs="time", fix="mend it\n# or not"),
)
WORDS = st.lists(st.text("abc-", min_size=1, max_size=30), min_size=1).map(" ".join)


def test_page() -> None:
    """Worst first; what it costs and every line of the fix below; the count last."""
    assert render(FINDINGS) == PAGE
    assert render(()) == "\n0 ok, 0 limited, 0 broken\n"


@given(says=WORDS, costs=WORDS, level=st.sampled_from(Level))
def test_a_page_fits_a_terminal(says: str, costs: str, level: Level) -> None:
    """No line is wider than 80 columns, and no word is lost."""
    page = render([Finding(name="n", level=level, says=says, costs=costs, fix="x")])
    assert all(len(line) <= COLUMNS for line in page.splitlines())
    assert page.split()[2 : 2 + len(says.split())] == says.split()


def test_what_is_the_same_of_both_families_is_said_once() -> None:
    """Only then; else each has its line."""
    four, six = well("echo over IPv4", "opens"), well("echo over IPv6", "opens")
    assert joined((four,), (six,)) == (replace(four, name="echo over IPv4, IPv6"),)
    other = replace(six, says="closed")
    assert joined((four,), (other,)) == (four, other)
    assert joined((four,), ()) == (four,)


def test_data() -> None:
    """The data hold every finding, the summary and the exit code."""
    data = json.loads(json.dumps(as_data(FINDINGS)))
    assert (data["exit_code"], data["summary"]) == (1, "1 ok, 1 limited, 1 broken")
    assert [one["level"] for one in data["findings"]] == ["ok", "limited", "broken"]
    assert data["findings"][2]["fix"] == "mend it\n# or not"


def test_each_way_to_end_is_in_the_help() -> None:
    """Every code that an examination ends with is named in `--help` with what it says."""
    told = " ".join(EXAMPLES.split())
    deaf = broken("icmp over IPv4", "no socket", costs="echoes", fix="allow it")
    assert set(ENDS) == {exit_code(found) for found in ((), FINDINGS, (*FINDINGS, deaf))}
    for code, meaning in ENDS.items():
        assert f"{code.value} {meaning}" in told
