"""nginx sites, certificates, the live back end and the crowd, over real sockets on loopback."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.lab.certificates import CertificateShop, Flavour, open_shop
from deploy.lab.crowd import CrowdPlan, rate_at, run_crowd
from deploy.lab.live import LiveSettings, serve_live
from deploy.lab.services import HerePlace, Running, launch, listen_tcp, stop_all, wait_until
from deploy.lab.web import Listen, Site, WebServer, start_web

ADDRESS = "127.64.9.10"
SITE = "www.x.test"
LIVE = "spaces.x.test"
JOIN = "/live/join"
SETTINGS = LiveSettings(workers=2, service_s=0.1, accept_queue=4)


class Platform(NamedTuple):
    """A small platform: one nginx with two names, one live back end."""

    web: WebServer
    shop: CertificateShop
    http: int
    https: int
    live: Running
    slow_file: Path


def free_port() -> int:
    """A port nobody has at this moment."""
    with socket.socket() as asked:
        asked.bind((ADDRESS, 0))
        return int(asked.getsockname()[1])


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform, up for all tests of this file."""
    directory = tmp_path_factory.mktemp("web")
    shop = open_shop(directory / "certificates", now_us=time.time_ns() // 1000)
    here, backend, plain, tls = HerePlace(), free_port(), free_port(), free_port()
    slow_file = directory / "slow"
    settings = LiveSettings(workers=2, service_s=0.1, accept_queue=4, slow_file=slow_file)
    listener = listen_tcp(here, ADDRESS, backend, backlog=settings.accept_queue)
    live = launch(
        here, lambda: serve_live(listener, settings), name="live", log=directory / "live.log"
    )
    listener.close()
    sites = [Site(name=SITE), Site(name=LIVE, path=JOIN, backend=f"{ADDRESS}:{backend}")]
    listen = Listen(addresses=(ADDRESS,), http=plain, https=tls)
    web = start_web(here, directory / "nginx", sites, listen=listen, shop=shop)
    yield Platform(web, shop, plain, tls, live, slow_file)
    stop_all([web.process, live])


def get(platform: Platform, name: str, path: str = "/") -> tuple[int, str]:
    """Status and body over TLS, verified against the lab's authority."""
    trusting = ssl.create_default_context(cafile=str(platform.shop.ca_file))
    raw = socket.create_connection((ADDRESS, platform.https), timeout=8)
    connection = http.client.HTTPConnection(name)
    connection.sock = trusting.wrap_socket(raw, server_hostname=name)
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read().decode()
    connection.close()
    return reply.status, body


def verify_message(platform: Platform, name: str) -> str:
    """What the TLS library says against the certificate; empty when nothing."""
    try:
        get(platform, name)
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return ""


def test_site_answers_ok_under_a_trusted_certificate(platform: Platform) -> None:
    """A healthy site answers 200 with a body that says ok and names it."""
    assert get(platform, SITE) == (200, f"ok {SITE}\n")


def test_flag_file_breaks_one_site_and_not_the_other(platform: Platform) -> None:
    """A flag makes one name answer 503, the other name on the same server stays good."""
    flag = platform.web.flag(SITE)
    flag.touch()
    try:
        assert get(platform, SITE)[0] == 503
        assert get(platform, LIVE)[0] == 200
    finally:
        flag.unlink()
    assert get(platform, SITE)[0] == 200


@pytest.mark.parametrize(
    ("flavour", "complaint"),
    [
        (Flavour.EXPIRED, "certificate has expired"),
        (Flavour.NOT_YET_VALID, "certificate is not yet valid"),
        (Flavour.WRONG_NAME, "Hostname mismatch"),
        (Flavour.SELF_SIGNED, "self-signed certificate"),
        (Flavour.UNTRUSTED, "self-signed certificate in certificate chain"),
    ],
)
def test_each_bad_certificate_is_refused_for_its_own_reason(
    platform: Platform, flavour: Flavour, complaint: str
) -> None:
    """A swapped certificate is served at once, and OpenSSL names exactly its defect."""
    platform.web.swap_certificate(SITE, flavour)
    try:
        assert complaint in verify_message(platform, SITE)
    finally:
        platform.web.swap_certificate(SITE, Flavour.GOOD)
    assert not verify_message(platform, SITE)


def test_join_costs_service_time(platform: Platform) -> None:
    """A join goes to the back end and takes at least its service time."""
    before = time.monotonic()
    status, body = get(platform, LIVE, JOIN)
    assert status == 200
    assert "ok" in body
    assert time.monotonic() - before >= SETTINGS.service_s


def test_slow_file_makes_joins_slow(platform: Platform) -> None:
    """The defect twin: with a slow file each join takes what the file says."""
    platform.slow_file.write_text("0.6")
    try:
        before = time.monotonic()
        assert get(platform, LIVE, JOIN)[0] == 200
        assert time.monotonic() - before >= 0.6
    finally:
        platform.slow_file.unlink()


def test_crowd_overloads_the_back_end_and_it_recovers(platform: Platform, tmp_path: Path) -> None:
    """A crowd above capacity gets refused and late joins; when it leaves, a join is quick again."""
    stats, now = tmp_path / "crowd.json", time.monotonic()
    plan = CrowdPlan(
        address=ADDRESS,
        port=platform.http,
        host=LIVE,
        path=JOIN,
        ca_file=None,
        crowd_per_s=8 * SETTINGS.capacity_per_s,
        start_at=now,
        end_at=now + 60,
        ramp_s=0.5,
    )
    crowd = launch(HerePlace(), lambda: run_crowd(plan, stats), name="crowd", log=tmp_path / "log")

    def counts() -> dict[str, int]:
        return dict(json.loads(stats.read_text())) if stats.exists() else {}

    def overloaded() -> bool:
        return counts().get("status_503", 0) + counts().get("status_504", 0) > 20

    try:
        wait_until(overloaded, what="joins that fail for want of capacity")
        assert counts()["joined"] > 0
        assert get(platform, SITE)[0] == 200
    finally:
        crowd.kill()

    def quick() -> bool:
        before = time.monotonic()
        status, _ = get(platform, LIVE, JOIN)
        return status == 200 and time.monotonic() - before < 2 * SETTINGS.service_s

    wait_until(quick, what="recovery after the crowd has left", timeout_s=20)


def test_arrivals_follow_the_profile() -> None:
    """Arrivals are quiet before, ramp up in between, and quiet again after the end."""
    plan = CrowdPlan(
        address="", port=0, host="", path="", ca_file=None,
        quiet_per_s=2, crowd_per_s=100, start_at=10, ramp_s=4, end_at=20,
    )  # fmt: skip
    rates = [rate_at(plan, now) for now in (9.9, 10, 12, 14, 19.9, 20)]
    assert rates == [2, 2, 52, 102, 102, 2]
