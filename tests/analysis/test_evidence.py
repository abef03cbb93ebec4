"""Sentences under a verdict: each carries a question that gives its number, and none contradicts it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Verdict
from analysis.report.text import render_verdict
from analysis.store import judge_store
from analysis.store.evidence import evidence_of
from tests.fakes import worlds
from tests.fakes.faults import FAULTS
from tests.fakes.stores import store_of, write_csv

SEED = 1009
SHOWN = {
    "application_component": "http attempts failed from 12 of 12 networks",
    "application_service": "http attempts failed from 12 of 12 networks",
    "overload": "http attempts were slow or failed from 12 of 12 networks",
    "tls": "http and tls attempts failed from 12 of 12 networks",
    "dns": "dns and http attempts failed from 12 of 12 networks",
    "edge": "http and tcp attempts failed from 12 of 12 networks",
    "target_network": "http, icmp and tcp attempts failed from 12 of 12 networks",
    "target_network_lossy": (
        "http, icmp and tcp attempts were slow or failed from 12 of 12 networks"
    ),
}


def _judged(
    path: Path, fault: worlds.Fault | None, component: str | None = "spaces"
) -> tuple[duckdb.DuckDBPyConnection, Verdict]:
    world = worlds.make_world(SEED, fault, vantages=12)
    con = store_of(write_csv(path / "rows.csv", world.rows()))
    since = worlds.START + timedelta(seconds=world.history_bins * world.bin_s)
    until = since + timedelta(seconds=world.fault_bins * world.bin_s)
    return con, judge_store(
        con, service="x", component=component, window_from=since, window_to=until
    )


@pytest.mark.parametrize("truth", SHOWN)
def test_the_first_sentence_counts_what_the_verdict_rests_on(tmp_path: Path, truth: str) -> None:
    """Networks are counted by the failing kinds of check, slow answers where slowness is the fault."""
    con, verdict = _judged(tmp_path, FAULTS[truth])
    assert verdict.verdict_class.value == truth
    first = verdict.evidence[0]
    assert first.sentence == f"A fifth or more of the {SHOWN[truth]}."
    con.close()


@pytest.mark.parametrize("truth", ["overload", "edge", "target_network_lossy", "upstream"])
def test_every_number_printed_is_the_answer_of_its_question(tmp_path: Path, truth: str) -> None:
    """The SQL beside a sentence is run as it stands, and gives the numbers in the sentence."""
    con, verdict = _judged(tmp_path, FAULTS[truth])
    assert verdict.evidence
    for one in verdict.evidence:
        assert "$" not in re.sub(r"--.*", "", one.sql)
        rows = con.execute(one.sql).fetchall()
        numbers = [value for row in rows for value in row if isinstance(value, int | float)]
        assert any(value == pytest.approx(one.value, abs=1e-6) for value in numbers), one.sentence
        of_all = re.search(r"(\d+) of (\d+) networks", one.sentence)
        if of_all:
            assert rows == [(int(of_all[1]), int(of_all[2]))]
            assert one.value == int(of_all[1])
    con.close()


def test_half_of_the_networks_are_counted_as_half(tmp_path: Path) -> None:
    """Seven of twelve networks see the fault, and seven are printed."""
    fault = worlds.seen_from(FAULTS["application_component"], range(64500, 64507))
    con, verdict = _judged(tmp_path, fault)
    assert "7 of 12 networks" in verdict.evidence[0].sentence
    con.close()


def test_no_sentence_says_that_nobody_saw_it(tmp_path: Path) -> None:
    """Where no network passes the mark, the line is left out instead of contradicting the verdict."""
    con, verdict = _judged(tmp_path, None)
    assert verdict.verdict_class is VerdictClass.HEALTHY
    accused = replace(verdict, verdict_class=VerdictClass.APPLICATION_SERVICE)
    assert not any("networks" in one.sentence for one in evidence_of(con, accused))
    con.close()


def test_a_fault_over_one_family_names_that_family(tmp_path: Path) -> None:
    """Spaces answers 500 over IPv6 only: the verdict's scope and its text say IPv6."""
    world = worlds.make_world(SEED, FAULTS["application_component"], vantages=12)
    calm = worlds.make_world(SEED, vantages=12)
    rows = [{**row, "family": 6} for row in world.rows()] + list(calm.rows())
    con = store_of(write_csv(tmp_path / "rows.csv", rows))
    since = worlds.START + timedelta(seconds=world.history_bins * world.bin_s)
    until = since + timedelta(seconds=world.fault_bins * world.bin_s)
    verdict = judge_store(con, service="x", component=None, window_from=since, window_to=until)
    assert verdict.scope.components == ("spaces",)
    assert verdict.scope.families == (6,)
    assert "over         IPv6\n" in render_verdict(verdict)
    con.close()


def test_what_is_not_certified_is_said_to_be_not(tmp_path: Path) -> None:
    """A verdict without a certificate says so; one that says nothing needs none."""
    con, verdict = _judged(tmp_path, FAULTS["tls"])
    assert "lying networks" in render_verdict(verdict)
    assert "not certified" in render_verdict(replace(verdict, certified_f=None))
    silent = replace(verdict, certified_f=None, target_class=VerdictClass.INSUFFICIENT)
    assert "certified" not in render_verdict(silent)
    con.close()


def test_a_store_without_any_attempt_blames_the_vantage_points(tmp_path: Path) -> None:
    """Rows of refusals only: the same answer as live, with what stopped each vantage point."""
    world = worlds.make_world(SEED, vantages=2, networks=1)
    rows = [
        {
            **row,
            "sent": 0,
            "lost": 0,
            "operation": "connect",
            "failure": "local_no_route",
            "http_status": None,
            "rtt_ms": None,
        }
        for row in world.rows()
    ]
    con = store_of(write_csv(tmp_path / "rows.csv", rows))
    since = worlds.START + timedelta(seconds=world.history_bins * world.bin_s)
    until = since + timedelta(seconds=world.fault_bins * world.bin_s)
    verdict = judge_store(con, service="x", component=None, window_from=since, window_to=until)
    assert verdict.verdict_class.value == "vantage_local"
    assert verdict.scope.vantages == ("v00", "v01")
    assert [one.value for one in verdict.evidence] == ["local_no_route", "local_no_route"]
    assert con.execute(verdict.evidence[0].sql).fetchall() == [
        (name, 0, len(world.targets), "local_no_route") for name in ("v00", "v01")
    ]
    con.close()
