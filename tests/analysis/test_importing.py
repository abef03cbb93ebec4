"""Foreign rows: all of a file or nothing, with messages that name line, field, value and fix."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from analysis.replay.contract import COLUMNS
from analysis.replay.errors import BadFileError
from analysis.store import import_rows, open_in_memory

GOOD = {
    "slot_at": "2026-03-01T12:00:00Z",
    "vantage": "v",
    "service": "x",
    "component": "c",
    "kind": "http",
    "sent": "2",
    "lost": "1",
}


def write(path: Path, *rows: dict[str, str]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names), *(",".join(row.get(name, "") for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def complaint(path: Path) -> str:
    with open_in_memory() as con:
        with pytest.raises(BadFileError) as caught:
            import_rows(con, path)
        assert con.execute("SELECT count(*) FROM cells").fetchall() == [(0,)]
        assert con.execute("SELECT count(*) FROM imports").fetchall() == [(0,)]
    return str(caught.value)


def test_the_least_row_is_enough(tmp_path: Path) -> None:
    """Seven columns suffice; everything else is not known, and a missing bin width is one slot."""
    with open_in_memory() as con:
        assert import_rows(con, write(tmp_path / "a.csv", GOOD)).rows == 1
        row = con.execute("SELECT slot_at, bin_s, role, family, rtt_ms FROM cells").fetchall()[0]
    assert str(row[0]) == "2026-03-01 12:00:00"
    assert row[1:] == (0, None, None, None)


def test_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    """A file is known by its content, whatever it is called."""
    first = write(tmp_path / "a.csv", GOOD)
    second = write(tmp_path / "b.csv", GOOD)
    with open_in_memory() as con:
        assert not import_rows(con, first).known
        assert import_rows(con, second).known
        assert con.execute("SELECT count(*) FROM cells").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("slot_at", "yesterday", "line 3: slot_at is 'yesterday'; write a UTC time"),
        ("slot_at", "", "line 3: slot_at is empty"),
        ("vantage", "", "line 3: vantage is empty; write a name"),
        ("kind", "ping", "line 3: kind is 'ping'; write one of icmp, tcp, http, dns, tls"),
        ("role", "boss", "line 3: role is 'boss'; write one of subject"),
        ("failure", "sad", "line 3: failure is 'sad'; write one of timeout"),
        ("operation", "think", "line 3: operation is 'think'"),
        ("family", "5", "line 3: family is '5'; write one of 4, 6"),
        ("sent", "1.5", "line 3: sent is '1.5'; write a whole number"),
        ("sent", "-1", "line 3: sent is '-1'"),
        ("lost", "", "line 3: lost is empty"),
        ("vantage_asn", "AS1", "line 3: vantage_asn is 'AS1'"),
        ("vantage_asn", "4294967296", "line 3: vantage_asn is '4294967296'"),
        ("http_status", "99", "line 3: http_status is '99'; write a whole number from 100 to 999"),
        ("rtt_ms", "-3", "line 3: rtt_ms is '-3'; write a number of at least 0"),
        ("rtt_ms", "fast", "line 3: rtt_ms is 'fast'"),
        ("rtt_ms", "inf", "line 3: rtt_ms is 'inf'"),
        ("bin_s", "60s", "line 3: bin_s is '60s'"),
        ("lost", "3", "line 3: lost is '3' with sent '2'; it cannot exceed sent"),
        ("received_at", "soon", "line 3: received_at is 'soon'"),
    ],
)
def test_a_bad_value_is_named_with_its_line(
    tmp_path: Path, field: str, value: str, says: str
) -> None:
    """The message has the file, the line, the field, the value and the fix; nothing is taken in."""
    assert says in complaint(write(tmp_path / "a.csv", GOOD, {**GOOD, field: value}))


def test_all_findings_come_at_once_and_not_without_end(tmp_path: Path) -> None:
    """Several faults are listed together, in the order of lines, and the list is cut."""
    bad = {**GOOD, "kind": "ping", "sent": "x"}
    text = complaint(write(tmp_path / "a.csv", *[bad] * 30))
    assert "line 2: kind" in text
    assert "line 2: sent" in text
    assert "more" in text.splitlines()[-1]


def test_unknown_and_missing_columns_are_named(tmp_path: Path) -> None:
    """A column outside the contract is refused by name, and so is one that is not there."""
    row = {name: value for name, value in GOOD.items() if name != "lost"}
    text = complaint(write(tmp_path / "a.csv", {**row, "latency": "3"}))
    assert "column 'latency' is not in the contract" in text
    assert "column 'lost' is missing" in text


def test_files_of_other_sorts_are_refused(tmp_path: Path) -> None:
    """A wrong suffix, a missing file and a file that is not what its name says are all named."""
    other = tmp_path / "a.txt"
    other.write_text("x")
    assert "use .csv, .parquet or .jsonl" in complaint(other)
    assert "there is no such file" in complaint(tmp_path / "none.csv")
    fake = tmp_path / "a.parquet"
    fake.write_text("this is not parquet")
    assert "cannot be read" in complaint(fake)


def test_parquet_and_json_lines_say_the_same_as_csv(tmp_path: Path) -> None:
    """Typed files, with numbers as floats and gaps as NaN, give the same cells."""
    rows = [
        {
            **GOOD,
            "vantage_asn": "64500",
            "rtt_ms": "3.5",
            "family": "4",
            "received_at": "2026-03-01T12:00:03Z",
        },
        {**GOOD, "vantage": "w"},
    ]
    table = write(tmp_path / "a.csv", *rows)
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            "COPY (SELECT * REPLACE (coalesce(vantage_asn::DOUBLE, 'nan'::DOUBLE) AS vantage_asn, "  # noqa: S608 - paths of this test
            "family::DOUBLE AS family, slot_at::TIMESTAMP AS slot_at) "
            f"FROM read_csv('{table}')) TO '{tmp_path / 'a.parquet'}' (FORMAT parquet)"
        )
    lines = [{name: value for name, value in row.items() if value} for row in rows]
    lines = [{**row, "sent": int(row["sent"]), "lost": int(row["lost"])} for row in lines]  # type: ignore[misc]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in lines) + "\n")
    told = []
    for suffix in ("csv", "parquet", "jsonl"):
        with open_in_memory() as con:
            import_rows(con, tmp_path / f"a.{suffix}")
            told.append(con.execute("SELECT * FROM cells ORDER BY vantage").fetchall())
    assert told[0] == told[1] == told[2]
    assert told[0][0][4] == 64500
    assert told[0][1][4] is None


def test_offsets_are_brought_to_utc(tmp_path: Path) -> None:
    """A stamp with an offset is the instant it names."""
    with open_in_memory() as con:
        import_rows(
            con, write(tmp_path / "a.csv", {**GOOD, "slot_at": "2026-03-01T14:00:00+02:00"})
        )
        assert (
            str(con.execute("SELECT slot_at FROM cells").fetchall()[0][0]) == "2026-03-01 12:00:00"
        )


def test_the_contract_is_the_table() -> None:
    """Every column of the contract is a column of cells, and the other way round."""
    with open_in_memory() as con:
        columns = {name for (name, *_) in con.execute("DESCRIBE cells").fetchall()}
    assert columns == {column.name for column in COLUMNS}
