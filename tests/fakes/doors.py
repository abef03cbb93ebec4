"""A listener of its own thread on 127.0.0.1 that counts who knocks, and how many at once."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

LOCAL = "127.0.0.1"


@dataclass(slots=True)
class Door:
    """Answers every connection with these bytes and closes; without bytes it holds them, silent."""

    says: bytes = b""
    connections: int = 0
    most_open: int = 0
    port: int = 0
    _open: set[socket.socket] = field(default_factory=set)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _thread: threading.Thread | None = None
    _end: socket.socket | None = None

    def __enter__(self) -> Self:
        listener = socket.create_server((LOCAL, 0), backlog=512)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        ours, self._end = socket.socketpair()
        self._selector.register(listener, selectors.EVENT_READ, "listener")
        self._selector.register(ours, selectors.EVENT_READ, "end")
        self._thread = threading.Thread(target=self._serve, args=(listener, ours), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._end is not None
        assert self._thread is not None
        self._end.close()
        self._thread.join()

    def _serve(self, listener: socket.socket, ours: socket.socket) -> None:
        with listener, ours, self._selector:
            while True:
                kinds = {key.data for key, _ in self._selector.select()}
                if "end" in kinds:
                    break
                self._sweep()
                if "listener" in kinds:
                    self._accept(listener)
            for sock in self._open:
                sock.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            sock.setblocking(False)
            self._open.add(sock)
            self._selector.register(sock, selectors.EVENT_READ, "peer")
            self.connections += 1
            # Who left before this one came has said so by now, and does not count as here.
            self._sweep()
            self.most_open = max(self.most_open, len(self._open))

    def _sweep(self) -> None:
        for sock in tuple(self._open):
            if self._is_over(sock):
                self._selector.unregister(sock)
                self._open.remove(sock)
                sock.close()

    def _is_over(self, sock: socket.socket) -> bool:
        """Answer what was asked, if that is what this door does; has the peer or have we ended it?"""
        try:
            asked = sock.recv(65536)
            if asked and self.says:
                sock.sendall(self.says)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return not asked or bool(self.says)
