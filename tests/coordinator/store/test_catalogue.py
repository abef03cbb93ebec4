"""Configurations, checks and vantage points as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.core.registry import ProbeState, Vantage
from coordinator.core.validation import validate
from coordinator.store.catalogue import (
    Ability,
    Followed,
    Recorded,
    RecordedPlan,
    Source,
    abilities,
    accept_config,
    following,
    record_following,
    record_probes,
    refuse_config,
)
from coordinator.store.open import Opened, StoreOpenError, connect, open_store
from coordinator.store.rows import SessionRow, insert_rows
from coordinator.store.statements import statement
from proto.model import Check, Kind, Plan
from proto.slots import phase_us
from tests.fakes.coordinator_store import CONFIG, PROBES


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A new store, open."""
    store = open_store(tmp_path / "s.duckdb")
    for name in ("current_checks", "current_probes"):
        store.writer.execute(statement(name))
    yield store
    store.close()


def source(sha256: str, at_us: int = 0) -> Source:
    """A configuration text by its hash."""
    return Source(f"# {sha256}", sha256, at_us, "start")


def test_a_text_keeps_its_version_and_another_gets_the_next(opened: Opened) -> None:
    """Starting again with the same file is not a new version; going back to an old text is."""
    versions = [accept_config(opened.writer, CONFIG, source(s)).version for s in "aabba"]
    assert versions == [1, 1, 2, 2, 3]
    refuse_config(opened.writer, source("x"), ("f: a is 1; b", "f: c is 2; d"))
    rows = opened.writer.execute(
        "SELECT config_version, accepted, source, findings FROM config_versions ORDER BY rowid"
    ).fetchall()
    assert rows == [
        (1, True, "# a", None),
        (2, True, "# b", None),
        (3, True, "# a", None),
        (None, False, "# x", "f: a is 1; b\nf: c is 2; d"),
    ]


def test_a_check_is_recorded_when_it_is_new_or_changed(opened: Opened) -> None:
    """Its number stays while its id stays; a changed definition is one more row of that number."""
    accept_config(opened.writer, CONFIG, source("a"))
    accept_config(opened.writer, CONFIG, source("b"))
    count = "SELECT count(*), count(DISTINCT check_no) FROM checks"
    assert opened.writer.execute(count).fetchall() == [(11, 11)]
    only_anchor = validate(
        {"anchor": [{"name": "a", "url": "tcp://a.test:8", "kinds": ["tcp"]}]}, file="f"
    )
    catalogue = accept_config(opened.writer, only_anchor, source("c"))
    assert opened.writer.execute(count).fetchall() == [(14, 11)]
    number = catalogue.definitions[0].check.check_no
    assert opened.writer.execute(
        "SELECT port, config_version FROM current_checks WHERE check_no = $n", {"n": number}
    ).fetchall() == [(8, 3)]
    back = accept_config(opened.writer, CONFIG, source("d"))
    assert {d.check.check_no for d in back.definitions} == set(range(1, 12))


def test_a_probe_is_recorded_when_it_changes(opened: Opened) -> None:
    """One row per declaration or state; the newest holds."""
    for at_us, probes in enumerate(
        (
            PROBES,
            PROBES,
            (replace(PROBES[0], state=ProbeState.QUARANTINED),),
            (replace(PROBES[0], declared=Vantage(asn=1)),),
        )
    ):
        record_probes(opened.writer, probes, recorded_at_us=at_us)
    rows = opened.writer.execute("SELECT probe_id, state, vantage_asn FROM probes").fetchall()
    assert rows == [
        ("p1", "enrolled", 64512),
        ("p2", "enrolled", None),
        ("p1", "quarantined", 64512),
        ("p1", "enrolled", 1),
    ]
    assert opened.writer.execute(
        "SELECT vantage_asn FROM current_probes WHERE probe_id = 'p1'"
    ).fetchall() == [(1,)]


def test_following_another_plan_ends_the_one_before(opened: Opened) -> None:
    """What was due ends at the instant at which the next begins; revocation ends all."""
    check = Check(check_no=3, check_id="x", kind=Kind.TCP, host="h", interval_s=30)
    plans = [Followed(Plan(version=version, checks=(check,)), 9) for version in (1, 2)]
    record_following(opened.writer, {"p1": (plans[0], 1_000_000), "p2": (plans[0], 1_000_000)})
    record_following(opened.writer, {"p1": (plans[1], 2_000_000), "p2": (None, 3_000_000)})
    rows = opened.writer.execute(
        "SELECT probe_id, plan_version, phase_us, epoch_us(from_at), epoch_us(until_at) FROM plans "
        "ORDER BY ALL"
    ).fetchall()
    p1, p2 = (phase_us(probe, 3, 30_000_000) for probe in ("p1", "p2"))
    assert rows == [
        ("p1", 1, p1, 1_000_000, 2_000_000),
        ("p1", 2, p1, 2_000_000, None),
        ("p2", 1, p2, 1_000_000, 3_000_000),
    ]
    recorded = following(opened.writer)
    assert recorded.by_probe == {"p1": RecordedPlan(2, 9, frozenset({3}))}
    assert recorded.newest == 2


def test_nothing_was_followed_in_an_empty_store(opened: Opened) -> None:
    """The numbers of plans begin at the beginning."""
    assert following(opened.writer) == Recorded({}, 0)


def test_what_a_probe_last_said_that_it_has_outlives_a_restart(opened: Opened) -> None:
    """The newest connect counts, with nothing at all where it said nothing."""
    says = [("p1", "4", "icmp4"), ("p1", "4,6", "icmp4,rx_stamps"), ("p2", "", "")]
    rows = [
        SessionRow(at_us=i, probe_id=who, what="connect", families=families, capabilities=able)
        for i, (who, families, able) in enumerate(says)
    ]
    insert_rows(opened.writer, [*rows, SessionRow(at_us=9, probe_id="p1", what="refused")])
    assert abilities(opened.writer) == {
        "p1": Ability(frozenset({4, 6}), frozenset({"icmp4", "rx_stamps"})),
        "p2": Ability(frozenset(), frozenset()),
    }


def test_the_file_can_be_read_by_older_readers(opened: Opened) -> None:
    """It is written in the storage format of 1.5, and never shows a progress bar."""
    ((tags,),) = opened.root.execute(
        "SELECT tags FROM duckdb_databases() WHERE NOT internal"
    ).fetchall()
    assert tags["storage_version"].startswith("v1.5.0")


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    """The message has the path and what the store says of it."""
    (tmp_path / "s.duckdb").write_bytes(b"not a store" * 1000)
    with pytest.raises(StoreOpenError, match=r"s\.duckdb"):
        connect(tmp_path / "s.duckdb")


def test_what_a_restore_set_aside_is_given_to_nothing_new(opened: Opened) -> None:
    """New checks and plans are numbered above what may have been given after the backup."""
    con = opened.writer
    only_anchor = validate(
        {"anchor": [{"name": "a", "url": "tcp://a.test:7", "kinds": ["tcp"]}]}, file="f"
    )
    known = accept_config(con, only_anchor, source("a")).definitions
    con.execute("INSERT INTO restores VALUES ('2026-01-02', '2026-01-01', 500, 9000, 'm')")
    numbers = {
        one.check.check_id: one.check.check_no
        for one in accept_config(con, CONFIG, source("b")).definitions
    }
    assert {numbers.pop(one.check.check_id) for one in known} == {
        one.check.check_no for one in known
    }
    assert sorted(numbers.values()) == list(range(501, 501 + len(numbers)))
    assert following(con).newest == 9000
