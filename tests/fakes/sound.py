"""A web server on loopback, which answers every GET with one word unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Sound(BaseHTTPRequestHandler):
    """Answers every GET with a word."""

    def do_GET(self) -> None:  # the name that http.server calls
        """One word."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"sound")

    def log_message(self, *_: object) -> None:
        """Nothing to print."""


@contextmanager
def a_target(answers: type[BaseHTTPRequestHandler] = Sound) -> Iterator[int]:
    """Its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
