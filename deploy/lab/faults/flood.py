"""Fill a link with UDP datagrams: run as a program on a machine of the crowd.

    python flood.py ADDRESS PORT MBIT_PER_S

Prints "sending" once the first datagram is out, then goes on until killed. Real traffic through a
real queue is what makes a saturated link look like one: loss, delay and retransmits in proportion.
Standard library only and run by its path, so that it starts in a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from typing import Final

PAYLOAD_BYTES: Final = 1200
_OVERHEAD_BYTES: Final = 42  # Ethernet, IPv4 and UDP headers count on the wire
_BURST: Final = 4  # datagrams between two looks at the clock


def flood(address: str, port: int, mbit_per_s: float) -> None:
    """Send at an even rate for ever. A lost turn is not made up for: the rate is a ceiling."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    pause_s = _BURST * (PAYLOAD_BYTES + _OVERHEAD_BYTES) * 8 / (mbit_per_s * 1e6)
    payload = bytes(PAYLOAD_BYTES)
    with socket.socket(family, socket.SOCK_DGRAM) as out:
        out.connect((address, port))
        due = time.monotonic()
        said = False
        while True:
            for _ in range(_BURST):
                with contextlib.suppress(OSError):  # an ICMP error of an earlier one, or no buffer
                    out.send(payload)
            if not said:
                print("sending", flush=True)
                said = True
            due = max(due + pause_s, time.monotonic() - pause_s)
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    flood(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
