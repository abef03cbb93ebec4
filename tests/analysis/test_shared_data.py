"""Real measurements by others, where a copy of them lies beside the repository."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from analysis.core.taxonomy import VerdictClass
from analysis.store import import_rows, judge_store, open_in_memory

DATA = Path(__file__).parents[3] / "shared" / "data"
STARLINK = DATA / "atlas_starlink_2023-04-29" / "rows.parquet"
SMOKEPING = DATA / "rsf_dns_sites" / "smokeping.parquet"

# What others measured, in the batch contract's columns.
FROM_ATLAS = """
COPY (
    SELECT ts AS slot_at, 900 AS bin_s, vantage, vantage_asn, vantage_cc AS vantage_country,
           target AS service, 'address' AS component, 'subject' AS role, 'icmp' AS kind,
           af AS family, target_addr AS address, sent, lost, rtt_ms
    FROM read_parquet('{source}')
) TO '{path}' (FORMAT parquet)
"""
FROM_SMOKEPING = """
COPY (
    SELECT ts_end - to_seconds(res_s) AS slot_at, res_s AS bin_s, 'pop' AS vantage,
           28343 AS vantage_asn, 'BR' AS vantage_country, series AS service, 'site' AS component,
           'subject' AS role, 'icmp' AS kind, 4 AS family, n_pings AS sent,
           CAST(round(loss_avg) AS INTEGER) AS lost, median_s * 1000 AS rtt_ms
    FROM read_parquet('{source}')
    WHERE "group" LIKE 'Sites%' OR "group" LIKE 'ICMP-DNS-IPv4%'
) TO '{path}' (FORMAT parquet)
"""


def needs(path: Path) -> None:
    if not path.is_file():
        pytest.skip(
            f"{path} is not there: these measurements of others are not part of the project"
        )


def converted(statement: str, *, source: Path, path: Path) -> Path:
    with duckdb.connect() as con:
        con.execute(statement.format(source=source, path=path))
    return path


def test_one_probe_that_lost_its_line_is_no_outage_of_the_target(tmp_path: Path) -> None:
    """Eleven losses in a row at one of 25 Atlas probes never become a fault of what they pinged."""
    needs(STARLINK)
    with open_in_memory() as con:
        import_rows(con, converted(FROM_ATLAS, source=STARLINK, path=tmp_path / "a.parquet"))
        (service,) = con.execute("SELECT DISTINCT service FROM cells").fetchall()[0]
        verdict = judge_store(
            con,
            service=service,
            component=None,
            window_from=datetime(2023, 4, 29, 0, 0, tzinfo=UTC),
            window_to=datetime(2023, 4, 29, 2, 45, tzinfo=UTC),
        )
    assert verdict.target_class is VerdictClass.INSUFFICIENT
    assert "controls_down" in verdict.reasons
    assert max(verdict.posterior, key=lambda leaf: verdict.posterior[leaf]) is VerdictClass.HEALTHY


def test_a_lone_vantage_never_says_that_a_site_is_down(tmp_path: Path) -> None:
    """A site blocked in one country, seen from one place, is not judged down for the world."""
    needs(SMOKEPING)
    with open_in_memory() as con:
        import_rows(con, converted(FROM_SMOKEPING, source=SMOKEPING, path=tmp_path / "s.parquet"))
        services = [row[0] for row in con.execute("SELECT DISTINCT service FROM cells").fetchall()]
        (service,) = [name for name in services if "twitter" in name.lower()]
        verdict = judge_store(
            con,
            service=service,
            component=None,
            window_from=datetime(2024, 9, 11, 14, 0, tzinfo=UTC),
            window_to=datetime(2024, 9, 18, 12, 0, tzinfo=UTC),
        )
    assert verdict.verdict_class is VerdictClass.INSUFFICIENT
    assert "few_groups" in verdict.reasons
