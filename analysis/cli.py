"""The commands that judge: verdict, incidents, adjudicate, sql, import, bench.

Exit codes: 0 answered, 1 the evidence does not suffice or there is no data, 2 wrong usage, 3 a file
that cannot be used (not there, locked, or with findings, which are all printed).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from analysis import answering
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import stamp
from analysis.replay.claimfile import KINDS
from analysis.replay.errors import BadFileError
from analysis.report import as_json, text
from analysis.store import Answer, NoSuchServiceError, SchemaError, StoreError

ANSWERED: Final = 0
INSUFFICIENT: Final = 1
USAGE: Final = 2
BAD_FILE: Final = 3

DEFAULT_DB: Final = Path("data/soundings.duckdb")


def main(argv: Sequence[str]) -> int:
    """Run one command; argv[0] is its name."""
    parser = build_parser()
    try:
        arguments = parser.parse_args(list(argv))
    except SystemExit as stop:
        return int(stop.code or 0)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except NoSuchServiceError as error:
        return _complain(error, INSUFFICIENT)
    except answering.QuestionError as error:
        return _complain(error, USAGE)
    except (BadFileError, StoreError, SchemaError) as error:
        return _complain(error, BAD_FILE)


def _complain(error: Exception, code: int) -> int:
    print(error, file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """All six commands."""
    parser = argparse.ArgumentParser(prog="soundings")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_verdict(commands)
    _add_incidents(commands)
    _add_adjudicate(commands)
    _add_sql(commands)
    _add_import(commands)
    _add_bench(commands)
    return parser


Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives its type no public name


def _command(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    *,
    does: str,
    example: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=does,
        description=f"{does}\n\nExample: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 answered, 1 insufficient or no data, 2 usage, 3 unusable file",
    )
    parser.set_defaults(command=run)
    return parser


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--db", type=Path, default=DEFAULT_DB, metavar="FILE", help="the store")


def _add_window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", help="of imported rows; default: all there are")
    parser.add_argument("--from", dest="since", type=_time, metavar="TIME", help="UTC, ISO 8601")
    parser.add_argument("--to", dest="until", type=_time, metavar="TIME", help="UTC, ISO 8601")
    parser.add_argument("--as-of", type=_time, metavar="TIME", help="use rows received up to then")
    parser.add_argument("--json", action="store_true", help="print data instead of text")


def _time(value: str) -> datetime:
    try:
        return stamp(value)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{value!r} is no time; write 2026-03-01T12:00:00Z"
        ) from None


def _add_verdict(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "verdict",
        does="Say what failed, for whom, and what it is not.",
        example="soundings verdict --service x --component spaces --db data/soundings.duckdb",
        run=run_verdict,
    )
    parser.add_argument("--service", help="default: every service in the store")
    parser.add_argument("--component", help="default: the whole service")
    parser.add_argument("--explain", action="store_true", help="add the posterior and the SQL")
    _add_window(parser)
    _add_store(parser)


def _add_incidents(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "incidents",
        does="List incidents: recorded ones, or what the rows of the store amount to.",
        example="soundings incidents --db data/soundings.duckdb",
        run=run_incidents,
    )
    parser.add_argument("--service", help="default: every service in the store")
    parser.add_argument("--json", action="store_true", help="print data instead of text")
    _add_store(parser)


def _add_adjudicate(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "adjudicate",
        does="Put a claim to the test, variant by variant.",
        example="soundings adjudicate --claim ddos --service x --component spaces",
        run=run_adjudicate,
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="CLAIM.toml")
    parser.add_argument("--claim", choices=KINDS)
    parser.add_argument("--service")
    parser.add_argument("--component")
    _add_window(parser)
    _add_store(parser)


def _add_sql(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "sql",
        does="Ask a closed store one read-only question.",
        example="soundings sql 'SELECT count(*) FROM cells' --db data/soundings.duckdb",
        run=run_sql,
    )
    parser.add_argument("statement", nargs="?", help="default: read it from standard input")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    _add_store(parser)


def _add_import(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "import",
        does="Take in what others measured. The same file again changes nothing.",
        example="soundings import rows measured.csv --db foreign.duckdb",
        run=run_import,
    )
    parser.add_argument("sort", choices=("rows",), help="rows: the batch contract's columns")
    parser.add_argument("file", type=Path, metavar="FILE.{csv,parquet,jsonl}")
    _add_store(parser)


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "bench",
        does="Judge many windows of foreign rows, for scoring.",
        example="soundings bench predict --rows rows.parquet --windows windows.csv -o out.csv",
        run=run_predict,
    )
    parser.add_argument("what", choices=("predict",))
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE")
    parser.add_argument("--windows", type=Path, required=True, metavar="WINDOWS.csv")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PREDICTIONS.csv")


def run_verdict(arguments: argparse.Namespace) -> int:
    """Print the verdicts; 1 when none of them says anything."""
    verdicts = answering.verdicts(arguments.db, answering.question_of(arguments))
    if arguments.json:
        print(as_json.verdicts_json(verdicts))
    else:
        shown = [text.render_verdict(one, explain=arguments.explain) for one in verdicts]
        print("\n\n".join(shown) if shown else "No rows to judge in this store.")
    said = [one for one in verdicts if one.verdict_class is not VerdictClass.INSUFFICIENT]
    return ANSWERED if said else INSUFFICIENT


def run_incidents(arguments: argparse.Namespace) -> int:
    """Print the incidents; none is an answer too."""
    told = answering.incidents(arguments.db, service=arguments.service)
    if arguments.json:
        print(as_json.incidents_json(told.incidents, source=told.source))
    else:
        print(text.render_incidents(told.incidents))
    return ANSWERED


def run_adjudicate(arguments: argparse.Namespace) -> int:
    """Print the claim sheet; 1 when no variant can be tested."""
    sheet = answering.claim_sheet(arguments.db, arguments)
    print(as_json.claim_json(sheet) if arguments.json else text.render_claim(sheet))
    return ANSWERED if any(one.k is not None for one in sheet.variants) else INSUFFICIENT


def run_sql(arguments: argparse.Namespace) -> int:
    """Print the answer of one statement."""
    statement = sys.stdin.read() if arguments.statement is None else arguments.statement
    answer = answering.free_question(arguments.db, statement)
    _print_answer(answer, arguments.format)
    return ANSWERED


def _print_answer(answer: Answer, form: str) -> None:
    if form == "json":
        print(as_json.rows_json(answer.columns, answer.rows))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    else:
        print(text.render_table(answer.columns, answer.rows))


def run_import(arguments: argparse.Namespace) -> int:
    """Take a file in, or say that it is there already."""
    taken = answering.take_in(arguments.db, arguments.file)
    if taken.known:
        print(f"{arguments.file}: taken in before, nothing to do")
    else:
        print(f"{arguments.file}: {taken.rows} rows taken in")
    return ANSWERED


def run_predict(arguments: argparse.Namespace) -> int:
    """Write one line per window."""
    count = answering.predict(arguments.rows, arguments.windows, arguments.output)
    print(f"{arguments.output}: {count} windows judged", file=sys.stderr)
    return ANSWERED
