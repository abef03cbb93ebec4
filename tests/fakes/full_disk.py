"""A program: fill a spool on a tiny tmpfs, then drain it there, and print what happened as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from probe.io.disk import OsDisk, Spool, SpoolSettings


def put(spool: Spool) -> None:
    spool.put(body=os.urandom(1250), rows=100, raw_bytes=1250, codec=1, first_at_us=spool.next_seq)


def main(directory: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)], check=True)
    settings = SpoolSettings(cap_bytes=64 << 20)
    spool = Spool(OsDisk(directory / "spool"), settings=settings, now_us=1)
    for _ in range(3000):
        put(spool)
    # Another program takes whatever is left.
    with (directory / "other").open("wb", buffering=0) as other:
        try:
            while True:
                other.write(bytes(4096))
        except OSError as error:
            refusal = error.errno
    for _ in range(100):
        put(spool)
    held = [one.record.seq for one in spool.read(after=(0, 0), limit=10**6)]
    spool.close()
    again = Spool(OsDisk(directory / "spool"), settings=settings, now_us=2)
    reopened = [one.record.seq for one in again.read(after=(0, 0), limit=10**6)]
    again.ack(epoch=1, seq=10**6)
    answer = {
        "refusal": refusal,
        "held": [len(held), held[0], held[-1], held == sorted(held)],
        "evicted_rows": spool.evicted_rows,
        "evicted_rows_after_restart": again.evicted_rows,
        "reopened": len(reopened),
        "left": again.rows,
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
