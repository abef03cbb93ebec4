"""Write docs/tables.md from the comments in the schema itself; `--check` compares instead.

The file of the store explains itself; this page only shows what it says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tables.md"
HEAD = """# Tables of the store

Written by `scripts/generate_docs.py` from the comments in the database file. Stamps are UTC; NULL
means not known, 0 means zero. Ask the file itself: `SELECT * FROM duckdb_columns()`.
"""


def render() -> str:
    """The page as it should be."""
    with duckdb.connect() as store:
        for path in sorted((ROOT / "proto" / "schema").glob("*.sql")):
            store.execute(path.read_text(encoding="utf-8"))
        relations = store.execute(
            "SELECT table_name, comment FROM duckdb_tables() WHERE NOT internal "
            "UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal "
            "ORDER BY 1"
        ).fetchall()
        words = store.execute(
            "SELECT type_name, array_to_string(labels, ', ') FROM duckdb_types() "
            "WHERE logical_type = 'ENUM' AND NOT internal ORDER BY 1"
        ).fetchall()
        sections = [_relation(store, name, comment) for name, comment in relations]
    listed = "\n".join(f"- `{name}`: {labels}" for name, labels in words)
    return f"{HEAD}\n## Words\n\n{listed}\n\n" + "\n".join(sections)


def _relation(store: duckdb.DuckDBPyConnection, name: str, comment: str) -> str:
    columns = store.execute(
        "SELECT column_name, data_type, comment FROM duckdb_columns() "
        "WHERE table_name = ? AND NOT internal ORDER BY column_index",
        [name],
    ).fetchall()
    rows = [
        f"| `{column}` | {_type(kind)} | {about or 'As in `results`.'} |"
        for column, kind, about in columns
    ]
    return "\n".join(
        [f"## {name}", "", comment, "", "| column | type | meaning |", "|---|---|---|", *rows, ""]
    )


def _type(kind: str) -> str:
    return "word" if kind.startswith("ENUM") else kind.lower()


def main(argv: list[str]) -> int:
    """Exit 1 when `--check` finds the page out of date."""
    if argv == ["--check"]:
        fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == render()
        if not fresh:
            print("docs/tables.md is not what the schema says; run scripts/generate_docs.py")
        return 0 if fresh else 1
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
