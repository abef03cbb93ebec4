"""Servers on a machine of the lab that break their protocol at one step, over both families."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum

from deploy.lab.network import Network

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_PATIENCE_S = 10.0  # a peer that stays longer is no check of ours


class Ending(Enum):
    """How a connection ends after what is said."""

    CLOSE = "close"
    RESET = "reset"
    SILENCE = "silence"  # the peer has to give up


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What every connection gets: a handshake if there is a context, one read, these bytes."""

    says: bytes = b""
    context: ssl.SSLContext | None = None
    ending: Ending = Ending.CLOSE


def response(status: str, *headers: str, body: bytes = b"") -> bytes:
    """An HTTP/1.1 response whose length is that of its body unless a header says otherwise."""
    told = any(header.startswith(("Content-Length", "Transfer-")) for header in headers)
    length = () if told else (f"Content-Length: {len(body)}",)
    return "\r\n".join((f"HTTP/1.1 {status}", *length, *headers, "", "")).encode() + body


@contextmanager
def serving(network: Network, machine: str, scripts: Mapping[int, Script]) -> Iterator[None]:
    """Serve each port by its script."""
    with ExitStack() as stack:
        for port, script in scripts.items():
            listener = network.sock(machine, socket.AF_INET6, socket.SOCK_STREAM)
            stack.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", port))
            listener.listen()
            thread = threading.Thread(target=_accept, args=(listener, script), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
        yield


def _accept(listener: socket.socket, script: Script) -> None:
    with contextlib.suppress(OSError):  # shut down
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_play, args=(connection, script), daemon=True).start()


def _play(connection: socket.socket, script: Script) -> None:
    connection.settimeout(_PATIENCE_S)
    with contextlib.suppress(OSError), connection:
        stream = connection
        if script.context is not None:
            stream = script.context.wrap_socket(connection, server_side=True)
        with stream:
            if not stream.recv(4096):
                return
            stream.sendall(script.says)
            if script.ending is Ending.RESET:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            if script.ending is Ending.SILENCE:
                while stream.recv(4096):
                    pass
