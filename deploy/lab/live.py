"""The live back end of the lab's platform: where people join a live room, and what overloads.

Nothing here pretends to be overloaded. A join costs service time in one of a bounded pool of
workers (setting up media takes time, not processor), and the line in front of the workers is the
kernel's own accept queue of a listening socket. So overload has the physics it has elsewhere:

    arrivals below workers / service_s     joins take service_s
    slightly above                         the queue fills: every join waits queue * service_s / workers
    far above                              the queue is full, the kernel drops handshakes, callers
                                           time out; those who got in are served, late

and it ends by itself when the callers leave. A worker first looks whether the caller is still there:
work for somebody who hung up would turn overload into collapse, and platforms learnt to avoid that.

A defect that makes every join slow is a fault file holding the new service time: seen from outside it
is the same picture, which is why the claim sheet calls the two not distinguishable.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A request head is one small GET; whoever sends more is not one of ours.
REQUEST_BYTES: Final = 8192
REQUEST_TIMEOUT_S: Final = 2.0
BODY: Final = b'{"room": "announced", "joined": true, "state": "ok"}\n'
HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """Capacity of the back end: `workers / service_s` joins a second."""

    workers: int = 8
    service_s: float = 0.1
    accept_queue: int = 64
    slow_file: Path | None = None  # holds the service time of the defect, while there is one

    @property
    def capacity_per_s(self) -> float:
        return self.workers / self.service_s


def serve_live(listener: socket.socket, settings: LiveSettings) -> None:
    """Serve joins until killed; `listener` has the accept queue as its backlog."""
    listener.setblocking(True)
    pool = [
        threading.Thread(target=_work, args=(listener, settings), daemon=True)
        for _ in range(settings.workers)
    ]
    for worker in pool:
        worker.start()
    for worker in pool:
        worker.join()


def _work(listener: socket.socket, settings: LiveSettings) -> None:
    while True:
        caller, _ = listener.accept()
        # A caller that resets or says nothing costs this join, never the worker.
        with caller, contextlib.suppress(OSError):
            _join(caller, settings)


def _join(caller: socket.socket, settings: LiveSettings) -> None:
    caller.settimeout(REQUEST_TIMEOUT_S)
    if not _read_head(caller) or _hung_up(caller):
        return
    time.sleep(_service_s(settings))
    caller.sendall(HEAD + BODY)
    caller.shutdown(socket.SHUT_WR)


def _read_head(caller: socket.socket) -> bool:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = caller.recv(REQUEST_BYTES)
        head += chunk
        if not chunk or len(head) > REQUEST_BYTES:
            return False
    return True


def _hung_up(caller: socket.socket) -> bool:
    poller = select.poll()
    poller.register(caller, select.POLLRDHUP)
    return bool(poller.poll(0))


def _service_s(settings: LiveSettings) -> float:
    if settings.slow_file is not None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return float(settings.slow_file.read_text())
    return settings.service_s
