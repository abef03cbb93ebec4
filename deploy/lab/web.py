"""The lab's web servers: one nginx per server machine, several names each, switchable faults.

A site answers 200 with a body that says so. Faults are flag files that nginx looks for at each
request, so applying one takes no reload:

    503-NAME          every path of this name answers 503
    503-NAME-PATH     one path does (slashes become dashes)

A certificate is exchanged by writing over the file and reloading, as an operator would do it.

The live component's path is handed to its back end. In front of it stands what platforms have in
front: a limit on joins under way, beyond which it sheds load with 503, and deadlines towards the
back end, beyond which it answers 504.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.lab.certificates import CertificateShop, Flavour
from deploy.lab.services import LabError, Place, Running, launch_program, wait_until

#: Joins that nginx lets wait for the live back end before it answers 503.
LIVE_LIMIT: Final = 220
#: Towards the back end: connecting fails when its accept queue is full; an answer that takes longer
#: than a person waits is given up.
LIVE_CONNECT_S: Final = 1
LIVE_READ_S: Final = 4
WORKER_CONNECTIONS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One name served by an nginx."""

    name: str
    path: str = "/"
    body: str = "ok"
    backend: str | None = None  # "address:port" of the live back end that answers `path`


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where an nginx listens: addresses of its machine, and the two ports."""

    addresses: tuple[str, ...]
    http: int = 80
    https: int = 443


@dataclass(slots=True)
class WebServer:
    """A running nginx, with what is needed to make it misbehave."""

    directory: Path
    sites: tuple[Site, ...]
    shop: CertificateShop
    process: Running
    _flavours: dict[str, Flavour] = field(default_factory=dict)

    def flag(self, site: str, path: str | None = None) -> Path:
        """The file whose presence makes a name, or one path of it, answer 503."""
        return self.directory / (f"503-{site}" + ("" if path is None else _dashed(path)))

    def swap_certificate(self, site: str, flavour: Flavour) -> None:
        """Serve another certificate from now on; requests under way keep the old one."""
        _install_certificate(self.shop, self.directory, site, flavour)
        self._flavours[site] = flavour
        # Old and new workers both accept for a moment; "from now on" means the old ones are gone.
        old = self._workers()
        self.process.send(signal.SIGHUP)
        wait_until(lambda: not old & self._workers(), what=f"reload of {self.process.name}")

    def _workers(self) -> frozenset[str]:
        pid = self.process.pid
        return frozenset(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def certificate(self, site: str) -> Flavour:
        return self._flavours.get(site, Flavour.GOOD)


def start_web(
    place: Place, directory: Path, sites: Sequence[Site], *, listen: Listen, shop: CertificateShop
) -> WebServer:
    """Write the configuration, start nginx in `place`, wait until its sockets are open."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        raise LabError("nginx is not installed; it is in Debian's package nginx-light")
    directory.mkdir(parents=True, exist_ok=True)
    for site in sites:
        _install_certificate(shop, directory, site.name, Flavour.GOOD)
    pid_file = directory / "nginx.pid"
    pid_file.unlink(missing_ok=True)
    config = directory / "nginx.conf"
    config.write_text(render(directory, sites, listen))
    argv = [nginx, "-c", str(config), "-e", str(directory / "error.log")]
    log = directory / "nginx.log"
    process = launch_program(place, argv, name=f"nginx@{place.name}", log=log)
    # nginx writes this file after it has opened its listening sockets.
    wait_until(lambda: pid_file.exists() or not process.alive(), what=f"nginx of {place.name}")
    if not process.alive():
        raise LabError(f"nginx of {place.name} ended at once:\n{_errors(directory, process)}")
    return WebServer(directory, tuple(sites), shop, process)


def _errors(directory: Path, process: Running) -> str:
    errors = directory / "error.log"
    return (errors.read_text() if errors.exists() else "") + process.log_tail()


def _install_certificate(
    shop: CertificateShop, directory: Path, site: str, flavour: Flavour
) -> None:
    chain, key = shop.leaf(site, flavour)
    (directory / f"{site}.crt").write_bytes(chain.read_bytes())
    target = directory / f"{site}.key"
    target.touch(mode=0o600)
    target.write_bytes(key.read_bytes())


def render(directory: Path, sites: Sequence[Site], listen: Listen) -> str:
    """The whole nginx.conf."""
    servers = "\n".join(_server(directory, site, listen) for site in sites)
    temp = "\n".join(
        f"  {kind}_temp_path {directory}/temp-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # `user root root`: in the sandbox only one user exists, and dropping privileges would fail.
    return f"""daemon off;
user root root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
worker_shutdown_timeout 2s;
worker_rlimit_nofile {2 * WORKER_CONNECTIONS};
events {{ worker_connections {WORKER_CONNECTIONS}; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_timeout 5s;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:1m;
{temp}
  limit_conn_zone $server_name zone=live:1m;
  limit_conn_status 503;
{servers}
}}
"""


def _server(directory: Path, site: Site, listen: Listen) -> str:
    sockets = "\n".join(f"    {line}" for line in _listen_lines(listen))
    flag = f"{directory}/503-{site.name}"
    path_flag = flag + _dashed(site.path)
    answer = f'return 200 "{site.body} {site.name}\\n";'
    paths = [f"    location / {{ {_when(flag)} {answer} }}"]
    if site.backend is not None or site.path != "/":
        inner = answer if site.backend is None else _handed_on(site.backend)
        paths.append(f"    location = {site.path} {{ {_when(flag)} {_when(path_flag)} {inner} }}")
    return f"""  server {{
{sockets}
    server_name {site.name};
    ssl_certificate {directory}/{site.name}.crt;
    ssl_certificate_key {directory}/{site.name}.key;
{chr(10).join(paths)}
  }}"""


def _listen_lines(listen: Listen) -> list[str]:
    hosts = [f"[{a}]" if ":" in a else a for a in listen.addresses]
    plain = [f"listen {host}:{listen.http};" for host in hosts]
    return plain + [f"listen {host}:{listen.https} ssl;" for host in hosts]


def _when(flag: str) -> str:
    return f"if (-f {flag}) {{ return 503; }}"


def _handed_on(backend: str) -> str:
    return (
        f"limit_conn live {LIVE_LIMIT}; proxy_pass http://{backend}; proxy_next_upstream off; "
        f"proxy_connect_timeout {LIVE_CONNECT_S}s; proxy_read_timeout {LIVE_READ_S}s;"
    )


def _dashed(path: str) -> str:
    return path.replace("/", "-")
