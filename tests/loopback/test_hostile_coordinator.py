"""A coordinator whose key the token pinned, and that means harm: what its probe does, packet by packet."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.fakes import hostile
from tests.fakes.hostile import PER_TARGET
from tests.fakes.hostile_plan import (
    CROWDED,
    FAILING,
    FAILS,
    FINE,
    LOCATIONS,
    WORLD,
    WORLD6,
    once,
    ways,
)
from tests.fakes.netlab import ROOT, why_not

pytestmark = pytest.mark.lab

HELD = {"policy", "unsupported", "http_redirect", "dns_nxdomain", "dns_nodata"}
"""Endings without a packet to where the way leads: a name may be asked of the operator's resolver."""

UNSENT = {"local_denied", "local_no_route"}
"""A broadcast of the own link: no policy knows its mask, and the kernel sends none."""

OPEN = {WORLD, WORLD6, CROWDED, FAILS, *(f"93.184.216.{130 + n}" for n in range(len(LOCATIONS)))}
"""Public, and asked for by name: the only places where a packet may go."""

LISTEN = "0A"
EPHEMERAL_FROM = 32768


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """One run of a real probe that was given every way at once."""
    why = why_not()
    if why is not None and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip(f"no namespaces here: {why}")
    return hostile.watch()


@pytest.mark.parametrize(
    "way", [*(way.name for way in ways() if way.stopped and FINE not in way.name), *once()]
)
def test_no_way_leads_inside(seen: dict[str, Any], way: str) -> None:
    """Whatever the plan writes, the slot ends without a contact, and says so."""
    endings = set(seen["rows"][way])
    assert endings
    assert endings <= HELD | (UNSENT if "93.184.216.255" in way else set())


def test_no_packet_goes_anywhere_but_to_public_targets(seen: dict[str, Any]) -> None:
    """The firewall of the machine saw every packet: its list is the plan's harmless part."""
    assert set(seen["touched"]) == OPEN


def test_what_is_harmless_is_measured(seen: dict[str, Any]) -> None:
    """The same probe, at the same time, reaches what it may: the watch would have seen the rest."""
    rows = seen["rows"]
    for name in ("tcp", "tcp over IPv6", "http by name", "echo"):
        assert "good" in rows[FINE + name], name
    assert "refused" in rows[FAILING]


def test_many_names_of_one_address_are_one_target(seen: dict[str, Any]) -> None:
    """Forty names lead to one address; it gets as many SYNs as the operator allows one target."""
    refilled = PER_TARGET * seen["elapsed_s"] / 60
    assert PER_TARGET <= seen["crowded"] <= PER_TARGET + refilled + 1
    endings = [word for name, words in seen["rows"].items() if "crowd" in name for word in words]
    assert endings.count("policy") > PER_TARGET


def test_only_get_and_head_are_ever_sent(seen: dict[str, Any]) -> None:
    """No other method, no second request in one, no header but our own, no credentials."""
    heads = [head for head in seen["heads"] if head]
    assert heads
    for head in heads:
        lines = head.removesuffix("\r\n\r\n").split("\r\n")
        assert re.fullmatch(r"(GET|HEAD) /[\x21-\x7e]* HTTP/1\.1", lines[0])
        names = [line.partition(":")[0].lower() for line in lines[1:]]
        assert names == ["host", "user-agent", "accept", "accept-encoding", "connection"]
        assert "secret" not in head


def test_nothing_can_come_in(seen: dict[str, Any]) -> None:
    """No socket listens, and what is bound is bound to a port that the kernel chose."""
    assert seen["sockets"]
    for line in seen["sockets"]:
        protocol, local, _, state = line.split()
        assert state != LISTEN, line
        assert not protocol.startswith("raw"), line
        assert int(local.rpartition(":")[2], 16) >= EPHEMERAL_FROM, line


def test_nothing_is_written_elsewhere(seen: dict[str, Any]) -> None:
    """Home, directory, cache and temporary files of the process stay empty."""
    assert seen["elsewhere"] == []


def test_the_policy_has_one_door() -> None:
    """Only the toolbox asks the address policy; everything that contacts anybody asks the toolbox."""
    sources = sorted((ROOT / "probe").rglob("*.py"))
    users = [path for path in sources if _asks(path.read_text(encoding="utf-8"))]
    found = {str(path.relative_to(ROOT / "probe")) for path in users}
    assert found == {"core/address.py", "io/box.py"}


def _asks(text: str) -> bool:
    """Whether a source calls the policy itself, not the toolbox's door."""
    return re.search(r"(?<![.\w])why_barred\(", text) is not None


def test_a_running_probe_has_no_rights_and_can_gain_none(seen: dict[str, Any]) -> None:
    """Started with every capability of its namespace: none is left, and no way back to one."""
    status = dict(line.split(":\t", 1) for line in seen["status"].splitlines() if ":\t" in line)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert (status["NoNewPrivs"], status["Umask"]) == ("1", "0077")
    assert re.search(r"Max core file size +0 +0 ", seen["limits"])
    assert "event=runs_as_root" in seen["log"]
