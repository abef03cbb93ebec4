"""What is in the store against what must be: nothing lost, doubled, missing between, or altered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb

from probe.core.spool import parse_segment_name, scan
from tests.bench.torture_facts import Entry, cells, row_of

Name = tuple[str, int, int]
"""(probe, epoch, seq)."""

_REPORTS: Final = """
SELECT probe_id, boot_id, seq, count(*) FROM results GROUP BY probe_id, boot_id, seq
"""
_TWICE: Final = """
SELECT coalesce(sum(n - 1), 0) FROM (
    SELECT count(*) AS n FROM results GROUP BY probe_id, check_no, slot_at, family, "trigger"
    HAVING count(*) > 1
)
"""
_GAPS: Final = """
SELECT coalesce(sum(highest - n), 0) FROM (
    SELECT max(seq) AS highest, count(DISTINCT seq) AS n FROM results GROUP BY probe_id, boot_id
)
"""
_VALUES: Final = """
SELECT
    check_no, epoch_us(slot_at), address, port, family, operation, failure, sent, lost,
    CAST(round(connect_ms * 1000) AS BIGINT), CAST(round(first_byte_ms * 1000) AS BIGINT),
    CAST(round(total_ms * 1000) AS BIGINT), http_status, body_bytes
FROM results WHERE probe_id = $probe_id
"""
"""In the order of `torture_facts.cells`."""

_REJECTED: Final = "SELECT coalesce(sum(row_count), 0) FROM rejects"


@dataclass(slots=True)
class Findings:
    """Rows, but for `gaps`, which are reports."""

    stored: int = 0
    ledger: int = 0
    kept: int = 0  # still in a spool
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    rejected: int = 0
    gaps: int = 0
    epochs: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Is everything there, once, as it was?"""
        return not (self.lost or self.doubled or self.gaps or self.wrong or self.rejected)


def check(
    store: Path, *, seed: int, ledgers: Mapping[str, Iterable[Entry]], simulated: set[str],
    spools: Mapping[str, Path],
) -> Findings:  # fmt: skip
    """Compare a closed store with the ledgers; values are recomputed for `simulated` probes."""
    found = Findings()
    with duckdb.connect(store, read_only=True) as con:
        stored = _stored(con)
        found.stored = sum(stored.values())
        found.epochs = len({(probe_id, epoch) for probe_id, epoch, _ in stored})
        found.doubled = _one(con, _TWICE)
        found.gaps = _one(con, _GAPS)
        found.rejected = _one(con, _REJECTED)
        _count_lost(found, stored, ledgers, spools)
        for probe_id in sorted(simulated):
            _compare_values(found, con, seed, probe_id)
    return found


def _stored(con: duckdb.DuckDBPyConnection) -> Counter[Name]:
    rows = con.execute(_REPORTS).fetchall()
    return Counter({(probe_id, int(boot_id, 16), seq): n for probe_id, boot_id, seq, n in rows})


def _one(con: duckdb.DuckDBPyConnection, question: str) -> int:
    return int(con.execute(question).fetchall()[0][0])


def _count_lost(
    found: Findings,
    stored: Counter[Name],
    ledgers: Mapping[str, Iterable[Entry]],
    spools: Mapping[str, Path],
) -> None:
    for probe_id, entries in ledgers.items():
        kept = _kept(spools[probe_id])
        for entry in entries:
            found.ledger += entry.rows
            n = stored[probe_id, entry.epoch, entry.seq]
            if n == 0 and (entry.epoch, entry.seq) in kept:
                found.kept += entry.rows
            elif n < entry.rows:
                found.lost += entry.rows - n
                found.examples.append(f"lost: {probe_id} {entry}, {n} stored")


def _kept(spool: Path) -> set[tuple[int, int]]:
    names = [(path, parse_segment_name(path.name)) for path in spool.glob("*.seg")]
    return {
        (name[0], record.seq)
        for path, name in names
        if name is not None
        for record in scan(path.read_bytes())[0]
    }


def _compare_values(
    found: Findings, con: duckdb.DuckDBPyConnection, seed: int, probe_id: str
) -> None:
    for check_no, slot_at_us, *told in con.execute(_VALUES, {"probe_id": probe_id}).fetchall():
        expected = cells(row_of(seed, probe_id, check_no, slot_at_us))
        if tuple(told) != expected:
            found.wrong += 1
            found.examples.append(f"wrong: {probe_id} {check_no} {slot_at_us}: {told} {expected}")
