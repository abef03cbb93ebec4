"""The commands as people type them."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path

import pytest

from analysis.cli import main
from analysis.core.taxonomy import LEAVES
from analysis.store import open_to_write
from tests.fakes import worlds
from tests.fakes.faults import FAULTS
from tests.fakes.stores import write_csv

WORLD = worlds.make_world(1009, FAULTS["overload"], vantages=12)
START = worlds.START + timedelta(seconds=WORLD.history_bins * WORLD.bin_s)
END = START + timedelta(seconds=WORLD.fault_bins * WORLD.bin_s)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of foreign rows with a scenario's name."""
    named = ({"scenario": "s1", **row} for row in WORLD.rows())
    return write_csv(tmp_path_factory.mktemp("rows") / "rows.csv", named)


@pytest.fixture(scope="module")
def store(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store file with those rows."""
    path = tmp_path_factory.mktemp("store") / "foreign.duckdb"
    assert main(["import", "rows", str(rows), "--db", str(path)]) == 0
    return str(path)


def test_a_verdict_without_any_option_finds_the_fault(store: str, capsys: Captured) -> None:
    """Service, scenario and window are chosen from the store; the sentence names the component."""
    assert main(["verdict", "--db", store]) == 0
    said = capsys.readouterr().out
    assert said.startswith("x spaces is slow or failing")
    assert "evidence" in said


def test_a_verdict_as_data_is_a_list_with_the_contract_names(store: str, capsys: Captured) -> None:
    """`--json` prints objects that carry the columns of predictions."""
    asked = ["--service", "x", "--component", "spaces", "--from", START.isoformat()]
    assert main(["verdict", "--db", store, *asked, "--to", END.isoformat(), "--json"]) == 0
    (body,) = json.loads(capsys.readouterr().out)
    assert body["class"] == "overload"
    assert body["scenario"] == "s1"
    assert body["level"] == "application"
    assert body["window"] == [
        START.isoformat().replace("+00:00", "Z"),
        END.isoformat().replace("+00:00", "Z"),
    ]


def test_explaining_shows_the_posterior_and_the_questions(store: str, capsys: Captured) -> None:
    """`--explain` adds probabilities and SQL to the same verdict."""
    assert main(["verdict", "--db", store, "--service", "x", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "posterior" in said
    assert "SELECT" in said


def test_a_window_may_be_left_open_on_either_side(store: str, capsys: Captured) -> None:
    """Only a start runs to the end of the data; only an end starts where the data suggest."""
    assert main(["verdict", "--db", store, "--from", START.isoformat()]) == 0
    assert main(["verdict", "--db", store, "--to", END.isoformat()]) == 0
    assert capsys.readouterr().out.count("slow or failing") == 2


def test_before_its_rows_came_nothing_could_be_said(store: str, capsys: Captured) -> None:
    """`--as-of` hides later rows; the exit code tells that the evidence does not suffice."""
    asked = ["--from", START.isoformat(), "--to", END.isoformat(), "--as-of", START.isoformat()]
    assert main(["verdict", "--db", store, "--service", "x", *asked]) == 1
    assert "missing_data" in capsys.readouterr().out


def test_a_claim_by_options_and_by_file_gives_one_sheet(
    store: str, tmp_path: Path, capsys: Captured
) -> None:
    """Both ways lead to the same variants; the file's context is shown and not scored."""
    window = ["--from", START.isoformat(), "--to", END.isoformat()]
    options = ["--claim", "ddos", "--service", "x", "--component", "spaces", *window]
    assert main(["adjudicate", "--db", store, *options, "--json"]) == 0
    by_options = json.loads(capsys.readouterr().out)
    path = tmp_path / "claim.toml"
    path.write_text(
        f'claim = "ddos"\nservice = "x"\ncomponent = "spaces"\nfrom = {START.isoformat()}\n'
        f'to = "{END.isoformat()}"\ncontext = ["announced start"]\n'
    )
    assert main(["adjudicate", str(path), "--db", store, "--json"]) == 0
    by_file = json.loads(capsys.readouterr().out)
    assert by_file["variants"] == by_options["variants"]
    assert by_file["variants"]["D1"]["words"] == "contradicted"
    assert by_file["context"] == ["announced start"]
    assert main(["adjudicate", str(path), "--db", store]) == 0
    assert "not distinguishable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("claim = ", "is not TOML"),
        ('claim = "aliens"\nservice = "x"', "claim is 'aliens'; write one of ddos"),
        ('claim = "ddos"', "service is None"),
        ('claim = "ddos"\nservice = "x"\nwho = "me"', "who is not a key of a claim"),
        ('claim = "ddos"\nservice = "x"\ncomponent = 3', "component is 3"),
        ('claim = "ddos"\nservice = "x"\ncontext = "c"', "context is 'c'"),
        ('claim = "ddos"\nservice = "x"\nfrom = 3', "from is 3"),
    ],
)
def test_a_bad_claim_file_is_named(
    store: str, tmp_path: Path, capsys: Captured, body: str, says: str
) -> None:
    """File, key, value and fix are told, with the exit code of a bad file."""
    path = tmp_path / "claim.toml"
    path.write_text(body)
    assert main(["adjudicate", str(path), "--db", store]) == 3
    assert says in capsys.readouterr().err


def test_incidents_of_a_store_without_verdicts_are_judged_now(store: str, capsys: Captured) -> None:
    """Imported rows have no recorded verdicts; their incident is found all the same."""
    assert main(["incidents", "--db", store, "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["class"], one["source"]) == ("overload", "judged now")
    assert main(["incidents", "--db", store, "--service", "x"]) == 0
    assert "application: overload" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "says"),
    [("table", "component\n"), ("csv", "spaces"), ("json", '"component": "spaces"')],
)
def test_sql_answers_in_three_forms(store: str, capsys: Captured, form: str, says: str) -> None:
    """A table for people, CSV and JSON for programs."""
    statement = "SELECT DISTINCT component FROM cells WHERE role = 'subject'"
    assert main(["sql", statement, "--db", store, "--format", form]) == 0
    assert says in capsys.readouterr().out


def test_predictions_have_one_line_per_window(rows: Path, tmp_path: Path, capsys: Captured) -> None:
    """Each window gets a class and a probability per class, also when nobody measured it."""
    windows = tmp_path / "windows.csv"
    windows.write_text(
        "scenario,service,component,from,to\n"
        f"s1,x,spaces,{START.isoformat()},{END.isoformat()}\n"
        f"s1,x,,{START.isoformat()},{END.isoformat()}\n"
        f"s1,x,login,{START.isoformat()},{END.isoformat()}\n"
        f"s2,x,spaces,{START.isoformat()},{END.isoformat()}\n"
    )
    out = tmp_path / "out.csv"
    asked = ["--rows", str(rows), "--windows", str(windows), "-o", str(out)]
    assert main(["bench", "predict", *asked]) == 0
    with out.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["class"] for line in lines] == [
        "overload",
        "overload",
        "insufficient",
        "insufficient",
    ]
    assert lines[2]["reasons"] == "component_not_probed"
    assert float(lines[0]["p_overload"]) > 0.8
    assert all(f"p_{leaf}" in lines[0] for leaf in LEAVES)
    assert lines[1]["component"] == ""
    assert "4 windows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scenario,service\n", "column 'component' is missing"),
        ("scenario,service,component,from,to\n,x,,soon,2026-03-01\n", "line 2: from is 'soon'"),
        ("scenario,service,component,from,to\n,,,2026-03-01,2026-03-02\n", "service is empty"),
        ("scenario,service,component,from,to\n,x,,2026-03-02,2026-03-01\n", "must be after from"),
    ],
)
def test_a_bad_windows_file_is_named(
    rows: Path, tmp_path: Path, capsys: Captured, text: str, says: str
) -> None:
    """Line, field and fix are told, and no prediction is written."""
    windows, out = tmp_path / "w.csv", tmp_path / "out.csv"
    windows.write_text(text)
    asked = ["--rows", str(rows), "--windows", str(windows), "-o", str(out)]
    assert main(["bench", "predict", *asked]) == 3
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_wrong_usage_has_its_own_code(store: str, capsys: Captured) -> None:
    """Contradicting options, half a claim and unknown words exit with 2."""
    wrong = [
        ["verdict", "--db", store, "--component", "spaces"],
        ["verdict", "--db", store, "--from", "2026-03-02", "--to", "2026-03-01"],
        ["verdict", "--db", store, "--from", "soon"],
        ["adjudicate", "--db", store],
        ["adjudicate", "c.toml", "--claim", "ddos", "--db", store],
        ["divine"],
    ]
    assert [main(argv) for argv in wrong] == [2] * len(wrong)
    assert "--component needs --service" in capsys.readouterr().err


def test_help_is_an_answer(capsys: Captured) -> None:
    """Every command explains itself with an example and its exit codes."""
    for command in ("verdict", "incidents", "adjudicate", "sql", "import", "bench"):
        assert main([command, "--help"]) == 0
        said = capsys.readouterr().out
        assert "Example: soundings" in said
        assert "exit codes" in said


def test_an_unknown_service_lists_what_there_is(store: str, capsys: Captured) -> None:
    """Asking for what is not there is no data, and the answer says what is."""
    assert main(["verdict", "--db", store, "--service", "y"]) == 1
    assert "there is: x" in capsys.readouterr().err


def test_a_store_that_cannot_be_used_is_a_bad_file(tmp_path: Path, capsys: Captured) -> None:
    """Missing stores and files have the exit code of unusable files."""
    assert main(["verdict", "--db", str(tmp_path / "none.duckdb")]) == 3
    assert "no such store" in capsys.readouterr().err
    assert (
        main(["import", "rows", str(tmp_path / "none.csv"), "--db", str(tmp_path / "d.duckdb")])
        == 3
    )
    assert main(["adjudicate", str(tmp_path / "none.toml")]) == 3


def test_an_empty_store_has_nothing_to_judge(tmp_path: Path, capsys: Captured) -> None:
    """No rows at all is told plainly, with the code of no data."""
    path = tmp_path / "empty.duckdb"
    with open_to_write(path):
        pass
    assert main(["verdict", "--db", str(path)]) == 1
    assert "No rows" in capsys.readouterr().out
    assert main(["incidents", "--db", str(path)]) == 0
    assert "No incident" in capsys.readouterr().out


def test_a_file_taken_in_twice_is_recognised(store: str, rows: Path, capsys: Captured) -> None:
    """The second import says that there is nothing to do, and is no error."""
    assert main(["import", "rows", str(rows), "--db", store]) == 0
    assert "taken in before" in capsys.readouterr().out
