"""The rows of a commit group, decoded a column at a time and inserted with what they share.

numpy decodes a column for a tenth of what SQL expressions cost, and DuckDB scans masked arrays as
they are. What a row shares with others it names by number: its vantage point and its check as they
are declared at this moment, and the combination of its words and counts (coordinator.store.facts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt

from coordinator.core.intake import Integers, ahead_of_arrival, clock_is_off
from coordinator.store.facts import OWN, Facts, Numbers, Values, insert_facts, number_facts
from coordinator.store.merge import Merged, unzigzag
from coordinator.store.statements import statement
from proto.columns import COLUMNS, Encoding
from proto.model import Validity

Array = npt.NDArray[Any]
Columns = dict[str, Array]

REGISTERED: Final = ("incoming", "arriving", "hopping")
"""Names under which arrays are seen by SQL, for the length of a group."""

_CLOCK_SUSPECT: Final = tuple(Validity).index(Validity.CLOCK_SUSPECT)
_PROBE_FAULT: Final = tuple(Validity).index(Validity.PROBE_FAULT)


def insert_results(
    con: duckdb.DuckDBPyConnection, merged: Merged, arriving: Columns, facts: Facts
) -> list[Values]:
    """Insert results and hops in the caller's transaction; gives the facts that are new with them.

    `arriving` has one row per report. Raises ValueError when a row's check or probe is not known.
    """
    con.register("arriving", arriving)
    texts, columns = _with_own_texts(merged)
    numbers, fresh = number_facts(columns, texts, facts)
    insert_facts(con, fresh, facts)
    incoming = _incoming(con, merged, columns, arriving)
    con.register("incoming", {**incoming, "fact_no": numbers})
    con.execute(statement("insert_results"), {"texts": texts}).fetchall()
    con.unregister("incoming")
    if len(merged.group.hops.row):
        con.register("hopping", _hopping(merged))
        con.execute(statement("insert_hops"), {"texts": list(merged.texts)}).fetchall()
        con.unregister("hopping")
    con.unregister("arriving")
    return fresh


def _with_own_texts(merged: Merged) -> tuple[list[str], Mapping[str, Integers]]:
    """Each text once, the columns with their places among those, and doubtful clocks marked."""
    places: dict[str, int] = {}
    own = [0, *(places.setdefault(text, len(places) + 1) for text in merged.texts)]
    renumbered = np.array(own, dtype=np.uint32)
    columns = merged.group.columns
    said = columns["validity"]
    doubtful = ahead_of_arrival(merged.group) | (
        clock_is_off(merged.group) & (said != _PROBE_FAULT)
    )
    validity = np.where(doubtful, _CLOCK_SUSPECT, said)
    texts = {name: renumbered[held] for name, held in merged.text_columns.items()}
    return list(places), {**columns, **texts, "validity": validity}


def _incoming(
    con: duckdb.DuckDBPyConnection,
    merged: Merged,
    columns: Mapping[str, Integers],
    arriving: Columns,
) -> Columns:
    group = merged.group
    rows = group.rows
    started_us = np.where(group.started, group.slot_us + group.start_delta_us, 0)
    started_at = started_us.view("datetime64[us]")
    return {
        "slot_at": group.slot_us.view("datetime64[us]"),
        "started_at": np.ma.MaskedArray(started_at, mask=~group.started),
        "received_at": np.repeat(arriving["received_us"].view("datetime64[us]"), rows),
        "declaration_no": np.repeat(_declared(con, len(rows)), rows),
        "epoch": np.repeat(arriving["epoch"], rows),
        "seq": np.repeat(arriving["seq"], rows),
        "definition_no": _defined(con, group.check_no),
        **_own(columns),
    }


def _own(columns: Mapping[str, Integers]) -> Columns:
    """What stays with the row; microseconds become milliseconds."""
    held: Columns = {}
    for column in COLUMNS:
        if column.name not in OWN:
            continue
        values = columns[column.name]
        if column.encoding is Encoding.TEXT:
            held[column.name] = values
            continue
        missing = values == 0
        if column.encoding is Encoding.ZIGZAG:
            value: Array = unzigzag(values - ~missing)
        else:
            value = values - ~missing
        if "_us" in column.name:
            value = (value / 1000).astype(np.float32)
        held[column.name.replace("_us", "_ms")] = np.ma.MaskedArray(value, mask=missing)
    return held


def _declared(con: duckdb.DuckDBPyConnection, reports: int) -> Numbers:
    """By report, the row of probes that holds now."""
    found = con.execute(statement("declared")).fetchall()
    declared = np.zeros(reports, dtype=np.uint32)
    for report_no, declaration_no in found:
        declared[report_no] = declaration_no
    if not declared.all():
        raise ValueError("a report is of a probe that was never declared")
    return declared


def _defined(con: duckdb.DuckDBPyConnection, check_no: npt.NDArray[np.int64]) -> Numbers:
    """By row, the row of checks that holds now."""
    found = con.execute(statement("defined")).fetchnumpy()
    table = np.zeros(max(int(found["check_no"].max(initial=0)), int(check_no.max())) + 1, np.uint32)
    table[found["check_no"]] = found["definition_no"]
    defined = table[check_no]
    if not defined.all():
        raise ValueError(f"check {check_no[np.argmin(defined)]} was never defined")
    return defined


def _hopping(merged: Merged) -> Columns:
    """The hops, each with what it needs of its row."""
    group = merged.group
    row = group.hops.row
    return {
        **group.hops.columns,
        "router": merged.hop_routers,
        "report_no": np.repeat(np.arange(len(group.rows)), group.hops.counts),
        "check_no": group.check_no[row],
        "slot_us": group.slot_us[row],
        "trigger": group.columns["trigger"][row],
        "address": merged.text_columns["address"][row],
    }


def arriving_reports(
    probe_ids: Sequence[str], epochs: Sequence[int], seqs: Sequence[int], received_us: Sequence[int]
) -> Columns:
    """The reports of a group as columns for `insert_results`."""
    return {
        "report_no": np.arange(len(probe_ids)),
        "probe_id": np.array(probe_ids, dtype=object),
        "epoch": np.array(epochs, dtype=np.uint64),
        "seq": np.array(seqs, dtype=np.uint64),
        "received_us": np.array(received_us, dtype=np.int64),
    }
