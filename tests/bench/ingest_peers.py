"""Two other ways to take the same rows in: one call per result, and `executemany`.

Both end in the same table of the same store, durably. The unary server has no TLS and no session to
keep, which favours it; what it pays for is a call, a parse and a reply for every single row.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from coordinator.core.intake import BatchName
from coordinator.store.commit import Arrival, Fate
from coordinator.store.open import open_store
from coordinator.store.writer import Store
from proto.codec import report_to_wire
from proto.model import Report, Result
from tests.bench.processes import Told, cpu_s

METHOD: Final = "/bench.Peer/Put"
IN_FLIGHT: Final = 400


# --- the server, a process of its own --------------------------------------------------------------


async def _serve(store_file: Path, probe_id: str, check_nos: Sequence[int]) -> None:
    store = Store(store_file, free_bytes=lambda: shutil.disk_usage(store_file.parent).free)
    store.allow(probe_id, frozenset(check_nos))
    store.start()
    seqs = itertools.count(1)

    async def put(body: bytes, context: Any) -> bytes:
        done: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        store.submit(
            Arrival(
                name=BatchName(probe_id, 1, next(seqs)),
                session=1,
                rows=1,
                body=body,
                received_at_us=time.time_ns() // 1000,
                reply=lambda fate, _: done.set_result(fate),
            )
        )
        return (await done).value.encode()

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(put)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Peer", {"Put": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop(1)
    await store.stop()


# --- what is measured ------------------------------------------------------------------------------


def unary(directory: Path, store_file: Path, rows: Sequence[Result], *, probe_id: str) -> float:
    """Results per second of server CPU, one call each. `store_file` knows probe and checks."""
    numbers = sorted({row.check_no for row in rows})
    server = Told.start(
        ["-m", "tests.bench.ingest_peers", str(store_file), probe_id, *map(str, numbers)],
        log=directory / "unary.log",
    )
    try:
        port = int(server.line())
        asyncio.run(_call_all(port, rows[: len(rows) // 10]))  # warm
        before_s = cpu_s(server.pid)
        asyncio.run(_call_all(port, rows))
        spent_s = cpu_s(server.pid) - before_s
    finally:
        server.tell()
        server.process.wait(timeout=30)
    return len(rows) / spent_s


async def _call_all(port: int, rows: Sequence[Result]) -> None:
    now_us = time.time_ns() // 1000
    moved = (replace(r, slot_at_us=now_us, started_at_us=now_us) for r in rows)
    waiting = iter([report_to_wire(Report((row,))) for row in moved])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        put: Any = channel.unary_unary(METHOD)

        async def work() -> None:
            for body in waiting:
                reply = await put(body)
                assert reply == b"committed", reply

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


def executemany(store_file: Path, rows: Sequence[Result], *, per_commit: int) -> float:
    """Results per second of CPU with DuckDB's own way for many rows, `per_commit` at a time."""
    opened = open_store(store_file)
    try:
        columns = opened.writer.execute("DESCRIBE result_rows").fetchall()
        names = [column[0] for column in columns]
        holes = ", ".join("?" for _ in names)
        statement = f"INSERT INTO result_rows VALUES ({holes})"  # noqa: S608  # holes are all it holds
        values = [[_value(name, row) for name in names] for row in rows]
        before_s = time.process_time()
        for first in range(0, len(values), per_commit):
            opened.writer.execute("BEGIN TRANSACTION")
            opened.writer.executemany(statement, values[first : first + per_commit])
            opened.writer.execute("COMMIT")
        return len(rows) / (time.process_time() - before_s)
    finally:
        opened.close()


_STAMPED: Final = ("slot_at", "started_at", "received_at")
_KNOWN: Final[dict[str, Any]] = {
    "declaration_no": 1, "epoch": 1, "seq": 1, "definition_no": 1, "fact_no": 1,
}  # fmt: skip


def _value(name: str, row: Result) -> Any:
    if name in _STAMPED:
        return "2026-01-01 00:00:00"
    if name in _KNOWN:
        return _KNOWN[name]
    if name.replace("_ms", "_us") != name:
        us = getattr(row, name.replace("_ms", "_us"))
        return None if us is None else us / 1000
    return getattr(row, name, None)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2], [int(text) for text in sys.argv[3:]]))
