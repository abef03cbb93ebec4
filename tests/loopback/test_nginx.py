"""The http check against a real nginx, as platforms run it."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proto.model import Failure, Kind, Result, StampSource
from tests.fakes.scripted_server import closed_port
from tests.fakes.tls_authority import make_authority
from tests.fakes.web_checks import ask, web_check

CONFIG = """
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {root}; proxy_temp_path {root};
  fastcgi_temp_path {root}; uwsgi_temp_path {root}; scgi_temp_path {root};
  gzip on; gzip_min_length 1; gzip_types text/plain;
  server {{
    listen 127.0.0.1:{port} ssl http2; server_name x.test; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {leaf}; ssl_certificate_key {leaf};
    location = /ok {{ return 200 "hello\\n"; }}
    location = /gone {{ return 503 "busy\\n"; }}
    location = /moved {{ return 301 https://x.test:{port}/ok; }}
    location = /big {{ alias {root}/big; }}
    location = /small {{ alias {root}/small; }}
    location = /last {{ keepalive_requests 1; return 200 "hello\\n"; }}
  }}
}}
"""

SMALL = bytes(range(256)) * 2500  # larger than the windows that HTTP/2 begins with
VERSIONS = pytest.mark.parametrize("version", ["1.1", "2"])


@dataclass(frozen=True, slots=True)
class Nginx:
    """Where it listens and whom to trust."""

    port: int
    ca_file: str

    async def get(self, path: str, **fields: Any) -> Result:
        """The row of a check of this path."""
        check = web_check(Kind.HTTP, self.port, **{"use_tls": True, "path": path, **fields})
        return (await ask(check, ca_file=self.ca_file)).result


@pytest.fixture(scope="module", name="nginx")
def a_running_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A single-process nginx with a certificate of its own authority."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    root, port = tmp_path_factory.mktemp("nginx"), closed_port()
    authority = make_authority(root)
    leaf = authority.leaf("x.test").path
    (root / "big").write_bytes(b"b" * 2_000_000)
    (root / "small").write_bytes(SMALL)
    config = root / "nginx.conf"
    config.write_text(CONFIG.format(root=root, port=port, leaf=leaf))
    with subprocess.Popen([program, "-e", root / "error.log", "-c", config]) as process:
        _wait_until_it_listens(process, port, root / "error.log")
        yield Nginx(port, str(authority.ca_file))
        process.terminate()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        with socket.socket() as sock:
            sock.settimeout(1)
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return


@VERSIONS
async def test_page(nginx: Nginx, version: str) -> None:
    """A page over TLS 1.3 is good, uncompressed, and its times are the kernel's."""
    row = await nginx.get("/ok", expect_body="h*o", http_versions=(version,))
    assert (row.failure, row.http_status, row.body_bytes) == (None, 200, 6)
    assert (row.tls_version, row.cert_verify, row.http_version) == ("TLSv1.3", 0, version)
    assert row.stamp_source is StampSource.TCP_INFO
    assert None not in {row.connect_us, row.tls_us, row.first_byte_us, row.total_us}


@VERSIONS
async def test_bad_status(nginx: Nginx, version: str) -> None:
    """An overloaded component says 503."""
    row = await nginx.get("/gone", http_versions=(version,))
    assert (row.failure, row.http_status) == (Failure.HTTP_STATUS, 503)


@VERSIONS
async def test_large_file(nginx: Nginx, version: str) -> None:
    """Of a large file exactly the cap is read."""
    row = await nginx.get("/big", body_cap_bytes=65536, http_versions=(version,))
    assert (row.failure, row.body_bytes) == (None, 65536)


@VERSIONS
async def test_redirect_is_an_answer(nginx: Nginx, version: str) -> None:
    """An expected redirect is good and its place is kept."""
    row = await nginx.get("/moved", expect_status=(301,), http_versions=(version,))
    assert (row.failure, row.location) == (None, f"https://x.test:{nginx.port}/ok")


@pytest.mark.parametrize(
    ("offered", "version"), [(("2", "1.1"), "2"), (("1.1", "2"), "2"), (("1.1",), "1.1")]
)
async def test_the_server_chooses_of_what_is_offered(
    nginx: Nginx, offered: tuple[str, ...], version: str
) -> None:
    """ALPN lets the server choose (RFC 7301): nginx takes HTTP/2 wherever it is offered."""
    row = await nginx.get("/ok", http_versions=offered)
    assert (row.failure, row.http_version) == (None, version)


@VERSIONS
async def test_file_beyond_the_first_window(nginx: Nginx, version: str) -> None:
    """A file that is read whole has the hash that it has, whatever the windows."""
    digest = hashlib.sha256(SMALL).hexdigest()
    row = await nginx.get(
        "/small", body_cap_bytes=1 << 20, http_versions=(version,), expect_sha256=digest[:12]
    )
    assert (row.failure, row.body_bytes, row.body_sha256) == (None, len(SMALL), digest)


async def test_last_request_of_a_connection(nginx: Nginx) -> None:
    """A server that says goodbye with its reply (GOAWAY) gave a whole reply."""
    row = await nginx.get("/last", http_versions=("2",))
    assert (row.failure, row.http_status, row.body_bytes) == (None, 200, 6)


@VERSIONS
async def test_head(nginx: Nginx, version: str) -> None:
    """HEAD is answered without a body, and that is whole."""
    row = await nginx.get("/big", method="HEAD", http_versions=(version,))
    assert (row.failure, row.http_status, row.body_bytes) == (None, 200, 0)


async def test_plain_request_to_the_tls_port(nginx: Nginx) -> None:
    """Nginx answers a plain request on its TLS port with 400."""
    row = await nginx.get("/ok", use_tls=False)
    assert (row.failure, row.http_status) == (Failure.HTTP_STATUS, 400)
