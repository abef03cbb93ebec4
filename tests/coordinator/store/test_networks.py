"""Files of networks: every format gives the same table, and what is wrong is named with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from coordinator.core.networks import Lookup, Place
from coordinator.core.ranges import FINDINGS_MAX, UnfitFileError
from coordinator.networks import read_file
from tests.fakes.mmdb import write_mmdb

CSV = """start,end,asn,country,name
9.0.0.0,9.255.255.255,AS64500,DE,"Nine, Ltd"
2001:470::,2001:470:ffff:ffff:ffff:ffff:ffff:ffff,64501,fr,
11.0.0.0,11.0.0.255,0,None,Not routed
"""
NINE = Place(64500, "DE", "Nine, Ltd")


def written(path: Path, text: str) -> Path:
    """A file of that text; a name that ends in .gz is packed."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def refused(path: Path) -> tuple[str, ...]:
    """Why a file is refused."""
    with pytest.raises(UnfitFileError) as caught:
        read_file(path, read_at_us=0)
    return caught.value.findings


def parquet(path: Path, csv: Path) -> Path:
    """The same table as Parquet, with numbers as numbers."""
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT * REPLACE (replace(asn, 'AS', '')::INT AS asn) FROM '{csv}') "  # noqa: S608
                    f"TO '{path}' (FORMAT parquet)")  # fmt: skip
    return path


def test_every_format_says_the_same(tmp_path: Path) -> None:
    """CSV, packed CSV, TSV, Parquet and MMDB place an address alike, and none beyond its ranges."""
    csv = written(tmp_path / "a.csv", CSV)
    tsv = "network\tasn\tcountry_code\tas_name\n9.0.0.0/8\tAS64500\tDE\tNine, Ltd\n"
    nine = {"asn": "AS64500", "country_code": "DE", "as_name": "Nine, Ltd"}
    write_mmdb(tmp_path / "d.mmdb", {"9.0.0.0/8": nine, "11.0.0.0/24": {"asn": 0}})
    files = [
        csv,
        written(tmp_path / "b.csv.gz", CSV),
        written(tmp_path / "c.tsv", tsv),
        parquet(tmp_path / "e.parquet", csv),
        tmp_path / "d.mmdb",
    ]
    for path in files:
        table: Lookup = read_file(path, read_at_us=0).table
        assert table.find("9.1.2.3") == NINE, path
        assert (table.find("11.0.0.1") or Place()).asn is None
        assert table.find("12.0.0.1") is None


def test_ranges_that_touch_and_say_the_same_are_one(tmp_path: Path) -> None:
    """A holder's blocks in a row cost one range; a gap or another holder parts them."""
    text = "network,asn\n9.0.0.0/9,1\n9.128.0.0/9,1\n11.0.0.0/8,1\n12.0.0.0/8,2\n"
    table = read_file(written(tmp_path / "a.csv", text), read_at_us=0).table
    assert len(table) == 3
    found: list[Place | None] = [table.find(a) for a in ("9.200.0.1", "10.1.1.1", "12.0.0.1")]
    assert found == [Place(asn=1), None, Place(asn=2)]


def test_a_file_is_known_by_its_hash_and_date(tmp_path: Path) -> None:
    """What was read can be told from any other file."""
    provenance = read_file(written(tmp_path / "a.csv", CSV), read_at_us=7).provenance
    assert provenance.sha256 is not None
    assert (len(provenance.sha256), provenance.ranges, provenance.read_at_us) == (64, 3, 7)
    assert provenance.modified_at_us is not None


@pytest.mark.parametrize(
    ("name", "text", "finding"),
    [
        ("a.csv", "network,asn\n9.0.0.1/8,1\n", 'line 2: network is "9.0.0.1/8"; it has bits beyond'),
        ("a.csv", "network,asn\n9.0.0.0/8,x1\n", 'line 2: asn is "x1"; give a number like 64512'),
        ("a.csv", "network,asn\n9.0.0.0/8,4294967296\n", "line 2: asn is"),
        ("a.csv", "network,country\n9.0.0.0/8,Germany\n", 'line 2: country is "Germany"; give two'),
        ("a.csv", "network,asn\n9.0.0.0/40,1\n", "line 2: network is"),
        ("a.csv", "network,asn\n9.0.0.0/8\n", "line 2: it has 1 fields; the first line names 2"),
        ("a.csv", "start,end,asn\n9.0.0.9,9.0.0.1,1\n", 'line 2: start, end is "9.0.0.9, 9.0.0.1"'),
        ("a.csv", "start,end,asn\n9.0.0.9,::1,1\n", "line 2: start, end is"),
        ("a.csv", "start,end,asn\n,9.0.0.1,1\n", 'line 2: start is ""; give an IPv4 or IPv6'),
        ("a.csv", "from,to\n1,2\n", 'line 1: the columns are "from, to"; name them start,end'),
        ("a.csv", "network,asn\n", "no range is in it"),
        ("a.csv", "", 'line 1: the columns are ""'),
        ("a.csv", 'network,asn\n"9.0.0.0/8,1\n', "it cannot be read"),
        ("a.csv.gz", None, "it cannot be read"),
        ("a.parquet", "no parquet", "it cannot be read"),
        ("a.mmdb", "no mmdb", "it is no good MMDB file"),
        ("a.txt", CSV, "its ending says no format"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str | None, finding: str) -> None:
    """A finding has the line, the field, its value and the fix."""
    path = tmp_path / name
    if text is None:
        path.write_bytes(b"no gzip")
    else:
        written(path, text)
    assert refused(path)[0].startswith(finding)


def test_findings_are_as_many_as_a_person_reads(tmp_path: Path) -> None:
    """A file that is wrong in every line is told of the first few."""
    found = refused(written(tmp_path / "a.csv", "network,asn\n" + "x,1\n" * 1000))
    assert len(found) == FINDINGS_MAX + 1


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    """A path that leads nowhere is a finding like any other."""
    assert "not readable" in refused(tmp_path / "a.csv")[0]


@pytest.mark.parametrize(
    ("records", "finding"),
    [
        ({"9.0.0.0/8": {"city": "Berlin"}}, "its records tell neither AS nor country"),
        ({"9.0.0.0/8": {"asn": "ASx"}}, 'asn is "ASx"'),
    ],
)
def test_an_mmdb_of_something_else_is_refused(
    tmp_path: Path, records: dict[str, dict[str, str]], finding: str
) -> None:
    """A file of cities is no file of networks, and a record that cannot be is named."""
    write_mmdb(tmp_path / "a.mmdb", records)
    assert refused(tmp_path / "a.mmdb")[0].startswith(finding)


def test_an_mmdb_of_ipv4_knows_nothing_of_ipv6(tmp_path: Path) -> None:
    """An address of the other family has no answer, and a wide record none for private space."""
    write_mmdb(tmp_path / "a.mmdb", {"8.0.0.0/6": {"asn": 5}}, ip_version=4)
    table: Lookup = read_file(tmp_path / "a.mmdb", read_at_us=0).table
    assert [table.find(a) for a in ("2001:470::1", "10.0.0.1", "nowhere")] == [None, None, None]
    assert table.find("9.0.0.1") == Place(asn=5)
