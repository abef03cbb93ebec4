"""What another configuration would change, and for whom."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.assigning import Candidate, allot, components_of
from coordinator.core.changes import Change, Load, compare, lines
from coordinator.core.planner import check_ids
from coordinator.core.registry import Vantage
from coordinator.core.settings import Config
from coordinator.core.validation import validate

FLEET = tuple(
    Candidate(probe_id=f"p{n}", vantage=Vantage(asn=64512 + n, labels={"tier": "ab"[n % 2]}))
    for n in range(6)
)


def config(*components: dict[str, Any], **tables: Any) -> Config:
    """One service `x` with these components."""
    service = {"name": "x", "component": list(components)}
    plain = {"trace": False, "remembered": False, "interval_s": 60}
    return validate({"service": [service], "defaults": plain, **tables}, file="f")


def tcp(name: str, **fields: Any) -> dict[str, Any]:
    """A component with one check."""
    return {"name": name, "url": f"tcp://{name}.test:7", "kinds": ["tcp"], **fields}


def test_the_same_configuration_changes_nothing() -> None:
    """Neither a check nor a plan nor a load, and it is said in one line."""
    same = compare(config(tcp("a")), config(tcp("a")), FLEET)
    assert (same.changes, same.affected, same.loads) == ((), 0, ())
    assert lines(same) == ["nothing changes"]


def test_checks_are_told_by_their_names_and_what_changed_of_them() -> None:
    """Added, removed, changed; who measures them gets another plan, and hosts another load."""
    found = compare(config(tcp("a"), tcp("b")), config(tcp("a", interval_s=30), tcp("c")), FLEET)
    assert found.changes == (
        Change("changed", "check x/a/tcp/4", ("interval_s 60 -> 30",)),
        Change("removed", "check x/b/tcp/4"),
        Change("added", "check x/c/tcp/4"),
    )
    assert [found.count(how) for how in ("added", "removed", "changed")] == [1, 1, 1]
    assert (found.affected, found.probes) == (6, 6)
    assert found.loads == (Load("a.test", 6, 12), Load("b.test", 6, 0), Load("c.test", 0, 6))
    assert lines(found) == [
        "~ check x/a/tcp/4: interval_s 60 -> 30",
        "- check x/b/tcp/4",
        "+ check x/c/tcp/4",
        "plans: 6 of 6 probes get another content",
        "load on a.test: 6 -> 12 requests a minute by all probes",
        "load on b.test: 6 -> 0 requests a minute by all probes",
        "load on c.test: 0 -> 6 requests a minute by all probes",
    ]


def test_a_group_changes_the_plans_of_those_it_moves() -> None:
    """Only probes that leave or join get another plan; the load follows the places."""
    old = config(tcp("a"), group=[{"name": "g", "services": ["x"], "labels": {"tier": "a"}}])
    new = config(tcp("a"), group=[{"name": "g", "services": ["x"], "probes": 5}])
    found = compare(old, new, FLEET)
    kept = {one.probe_id for one in FLEET if one.vantage.labels["tier"] == "a"}
    chosen = allot(new, FLEET).chosen["g"]
    assert found.affected == len(kept ^ chosen)
    assert found.loads == (Load("a.test", 3, 5),)
    assert found.changes == (
        Change("changed", "group g", ("labels {'tier': 'a'} -> {}", "probes None -> 5")),
    )
    assert compare(new, config(tcp("a")), ()).changes == (Change("removed", "group g"),)


def test_settings_are_told_by_table_and_key() -> None:
    """With both values; ports hold from the next start on, and a contact is in every plan."""
    new = config(
        tcp("a"),
        coordinator={"fleet": "127.0.0.1:9", "contact": "https://c.test/"},
        limits={"free_mib": 7},
        anchor=[tcp("n")],
    )
    found = compare(config(tcp("a")), new, FLEET)
    told = {one.what: one.details for one in found.changes}
    assert told["limits.free_mib"] == ("256 -> 7",)
    assert told["coordinator.fleet"] == ("0.0.0.0:7443 -> 127.0.0.1:9",)
    assert "check anchor/n/tcp/4" in told
    assert found.restart == ("coordinator.fleet",)
    assert lines(found)[-1] == "coordinator.fleet holds from the next start on"
    assert found.affected == 6


def test_what_follows_a_failure_is_told_without_its_numbers() -> None:
    """Numbers of checks mean nothing between two configurations."""
    traced = config(tcp("a", trace=True))
    found = compare(config(tcp("a")), traced, ())
    assert Change("changed", "check x/a/tcp/4", ("on_failure",)) in found.changes


@given(
    st.lists(st.sampled_from("abcd"), unique=True, min_size=1),
    st.lists(st.sampled_from("abcd"), unique=True, min_size=1),
)
def test_it_tells_exactly_what_differs(old: list[str], new: list[str]) -> None:
    """Added and removed checks are the difference of the two sets, both ways round."""
    one, two = (config(*(tcp(name) for name in names)) for names in (old, new))
    there, back = compare(one, two, FLEET), compare(two, one, FLEET)
    assert (
        there.count("added") == len({*check_ids(two)} - {*check_ids(one)}) == back.count("removed")
    )
    assert there.affected == back.affected == (6 if set(old) != set(new) else 0)
    placed = allot(two, FLEET)
    share = {len(components_of(probe, two, placed)) for probe in FLEET}
    assert share == {len(new)}
