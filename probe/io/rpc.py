"""What every call to a coordinator has in common: whom to trust, how to begin, one question.

`ask` blocks; it is for commands and for the short-lived process that renews a certificate. The session
of a running probe is `probe.io.link`.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path
from typing import Final

from probe.exits import Exit, ProbeError
from probe.io.grpcwire import GrpcCall, Status
from probe.io.seal import SERVER_NAME
from soundings import VERSION

READ_BYTES: Final = 65536


class CallError(Exception):
    """A call ended without its answer; `status` says how."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"{status.code}: {status.details}")
        self.status = status


def split_endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT or [V6]:PORT. Raises ProbeError (usage) when it is neither."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ProbeError(
            f"coordinator address {text!r}: give HOST:PORT, for example coordinator.example.org:7444",
            code=Exit.USAGE,
        )
    return host, int(port)


def trusting(
    ca_pem: bytes, *, key: Path | None = None, certificate: Path | None = None
) -> ssl.SSLContext:
    """TLS that trusts these authorities alone, and shows a certificate if one is given.

    Raises ValueError (ssl.SSLError is one) or OSError when a file is not what it must be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A change of CA leaves a new authority in ca.pem that the old one signed, without the old one.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context


def begin(path: str) -> GrpcCall:
    """A call of this method, `/package.Service/Method`."""
    return GrpcCall(path, authority=SERVER_NAME, user_agent=f"soundings/{VERSION}")


def ask(
    endpoint: str, context: ssl.SSLContext, path: str, request: bytes, *, timeout_s: float
) -> bytes:
    """The answer to one question; blocks.

    Raises CallError, also for what the network does. Every address of the host is tried in turn.
    """
    deadline_s = time.monotonic() + timeout_s
    call = begin(path)
    call.send(request, last=True)
    try:
        with (
            socket.create_connection(split_endpoint(endpoint), timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=SERVER_NAME) as wrapped,
        ):
            return _answer(call, wrapped, deadline_s=deadline_s)
    except TimeoutError:
        raise CallError(Status("DEADLINE_EXCEEDED", f"no answer within {timeout_s:g} s")) from None
    except (OSError, UnicodeError) as error:  # an ssl.SSLError is an OSError
        raise CallError(Status("UNAVAILABLE", words_of(error))) from error


def _answer(call: GrpcCall, wrapped: ssl.SSLSocket, *, deadline_s: float) -> bytes:
    answers: list[bytes] = []
    while call.status is None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        wrapped.settimeout(left_s)
        while owed := call.owed():
            wrapped.sendall(owed)
        answers += call.feed(wrapped.recv(READ_BYTES))
    if call.status.code != "OK":
        raise CallError(call.status)
    if len(answers) != 1:
        raise CallError(Status("INTERNAL", f"{len(answers)} answers to one question"))
    return answers[0]


def words_of(error: BaseException) -> str:
    """What went wrong at the bottom of an error of socket, ssl or trio, for people."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[-1]
    if error.__cause__ is not None:
        return words_of(error.__cause__)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS failed ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
