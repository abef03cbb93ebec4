"""What a simulated probe of the durability drill says: every cell a function of what names its row.

So the checker recomputes each value that is in the store from (seed, probe, check, slot) and asks
nobody what was sent. How many rows must be there is another question: a ledger answers it, a line
for every report that the spool had on disk, written before the report could be sent.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from probe.io.disk import Spool
from proto.model import Failure, Operation, Result, State

STEP_US: Final = 10_000
"""The slots of a simulated check: a hundred a second."""

TOTAL_US_MAX: Final = 4_000_000
"""The store's times are 32-bit floats in ms: to the microsecond up to eight seconds."""

FAILURES: Final = (Failure.TIMEOUT, Failure.REFUSED, Failure.RESET)


def row_of(seed: int, probe_id: str, check_no: int, slot_at_us: int) -> Result:
    """The one row that this probe has for this check and slot."""
    digest = hashlib.blake2b(f"{seed}/{probe_id}/{check_no}/{slot_at_us}".encode()).digest()
    number = [int.from_bytes(digest[i : i + 4], "big") for i in range(0, 32, 4)]
    good = number[0] % 10 > 0
    return Result(
        check_no=check_no,
        slot_at_us=slot_at_us,
        started_at_us=slot_at_us + number[1] % 1000,
        state=State.MEASURED,
        address=f"192.0.2.{number[2] % 256}",
        port=number[3] % 65_535,
        family=4,
        operation=None if good else Operation.CONNECT,
        failure=None if good else FAILURES[number[4] % len(FAILURES)],
        sent=1 + number[5] % 3,
        lost=number[5] % 2,
        connect_us=number[6] % 1_000_000 if good else None,
        first_byte_us=number[4] % 2_000_000 if good else None,
        total_us=number[7] % TOTAL_US_MAX if good else None,
        http_status=200 + number[1] % 300 if good else None,
        body_bytes=number[2] if good and number[2] < 1 << 31 else None,
    )


def cells(row: Result) -> tuple[Any, ...]:
    """What the store must say of this row; times in whole microseconds."""
    operation = None if row.operation is None else row.operation.value
    failure = None if row.failure is None else row.failure.value
    named = (row.address, row.port, row.family, operation, failure, row.sent, row.lost)
    timed = (row.connect_us, row.first_byte_us, row.total_us)
    return (*named, *timed, row.http_status, row.body_bytes)


@dataclass(frozen=True, slots=True)
class Entry:
    """A report that was durable on its probe's disk before anybody sent it."""

    epoch: int
    seq: int
    rows: int


class LedgerSpool(Spool):
    """The probe's spool, and beside it a ledger that says what it had on disk."""

    def __init__(self, *args: Any, ledger: Path, **named: Any) -> None:
        super().__init__(*args, **named)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._ledger = os.open(ledger, flags, 0o600)

    def put(self, **named: Any) -> int:
        """As the spool does; when this returns, spool and ledger are on disk."""
        seq = super().put(**named)
        os.write(self._ledger, f"{self.epoch} {seq} {named['rows']}\n".encode())
        os.fdatasync(self._ledger)
        return seq


def read_ledger(path: Path) -> list[Entry]:
    """Every whole line."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="ascii").split("\n")[:-1]
    return [Entry(*map(int, line.split())) for line in lines]


def read_log(path: Path) -> list[Entry]:
    """The same of a real probe: its log says `report_stored` after its spool had it on disk."""
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        said = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if said.get("event") == "report_stored":
            entries.append(Entry(int(said["epoch"]), int(said["seq"]), int(said["rows"])))
    return entries
