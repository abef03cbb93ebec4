from __future__ import annotations

import socket
import ssl
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from probe.exits import Exit, ProbeError
from probe.io import enrol
from probe.io.clock import wall_us
from probe.io.state import StateDirectory
from tests.fakes.fleet import Authority, Coordinator


def ask(
    path: Path,
    *,
    port: int,
    token: str,
    host: str = "127.0.0.1",
    wall: Callable[[], int] | None = None,
) -> enrol.Enrolled:
    """Enrol this directory."""
    return enrol.enrol(
        StateDirectory(path),
        coordinator=f"{host}:{port}",
        token_text=token,
        version="0",
        wall=wall or wall_us(),
    )


def refusal(
    path: Path, *, port: int, token: str, wall: Callable[[], int] | None = None
) -> ProbeError:
    """The error of an enrolment that must fail; no certificate may be left behind."""
    with pytest.raises(ProbeError) as caught:
        ask(path, port=port, token=token, wall=wall)
    assert not (path / "certificate.pem").exists()
    return caught.value


def test_an_enrolment_leaves_everything_for_this_user_alone(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Key, request, authority, endpoint and certificate, all 0600, and the identity loads."""
    made = ask(tmp_path / "state", port=coordinator.enrol_port, token=coordinator.token)
    assert made.probe_id == "probe-1"
    assert made.clock_note is None
    identity = StateDirectory(tmp_path / "state").identity()
    assert identity.endpoint.fleet == (f"127.0.0.1:{coordinator.fleet_port}",)
    assert identity.ca_pem == coordinator.authority.pem
    files = sorted((tmp_path / "state").iterdir())
    assert [path.name for path in files] == [
        "ca.pem", "certificate.pem", "csr.der", "endpoint.json", "key.pem",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_asking_again_after_a_lost_reply_is_the_same_request(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The token is bound to the CSR, and the CSR is kept."""
    ask(tmp_path, port=coordinator.enrol_port, token=coordinator.token)
    (tmp_path / "certificate.pem").unlink()
    ask(tmp_path, port=coordinator.enrol_port, token=coordinator.token)
    first, second = coordinator.seen.enrolments
    assert first.csr_der == second.csr_der


def test_a_used_token_is_refused(coordinator: Coordinator, tmp_path: Path) -> None:
    """Another machine with the same token is told so, and how to get a new one."""
    ask(tmp_path / "one", port=coordinator.enrol_port, token=coordinator.token)
    error = refusal(tmp_path / "two", port=coordinator.enrol_port, token=coordinator.token)
    assert error.code is Exit.TOKEN_REFUSED
    assert "used already" in str(error)
    assert "token create" in str(error)


def test_a_coordinator_with_another_key_never_sees_the_secret(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The pin is compared before anything is sent."""
    stranger = Authority().token(coordinator.secret)
    error = refusal(tmp_path, port=coordinator.enrol_port, token=stranger)
    assert error.code is Exit.WRONG_PIN
    assert "the token was not sent" in str(error)
    assert coordinator.seen.enrolments == []


@pytest.mark.parametrize(
    "named",
    [
        ("10.0.0.5:22",),
        (":7443", "169.254.169.254:80"),
        ("localhost:7443",),
        ("127.0.0.1.:7443",),
        (":0",),
        (":x",),
        ("",),
        (":7443",) * 9,
    ],
)
def test_a_coordinator_cannot_send_its_probes_elsewhere(
    coordinator: Coordinator, tmp_path: Path, named: tuple[str, ...]
) -> None:
    """The host is the operator's word: only ports on it are taken, and nothing is stored of others."""
    coordinator.behaviour.fleet_endpoints = named
    error = refusal(tmp_path, port=coordinator.enrol_port, token=coordinator.token)
    assert error.code is Exit.UNREACHABLE
    assert "it named" in str(error)
    assert not (tmp_path / "endpoint.json").exists()


def test_a_port_of_the_host_may_be_named_with_it(coordinator: Coordinator, tmp_path: Path) -> None:
    """As long as it is the same host."""
    coordinator.behaviour.fleet_endpoints = ("127.0.0.1:7443",)
    made = ask(tmp_path, port=coordinator.enrol_port, token=coordinator.token)
    assert made.endpoint.fleet == ("127.0.0.1:7443",)


def test_a_closed_port_is_unreachable(tmp_path: Path) -> None:
    """The message names the address and what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = refusal(tmp_path, port=port, token=Authority().token(bytes(20)))
    assert error.code is Exit.UNREACHABLE
    assert f"127.0.0.1:{port}" in str(error)
    assert "Connection refused" in str(error)


def test_a_port_that_speaks_no_tls_is_unreachable(tmp_path: Path) -> None:
    """Somebody gave the port of the web page."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        error = refusal(tmp_path, port=port, token=Authority().token(bytes(20)))
        thread.join()
    assert error.code is Exit.UNREACHABLE
    assert "TLS failed" in str(error)


def test_a_name_that_cannot_be_one_is_unreachable(tmp_path: Path) -> None:
    """A misspelt host is named, also where the resolver is never asked."""
    with pytest.raises(ProbeError, match="cannot be reached") as caught:
        ask(tmp_path, host="a" * 64, port=7444, token=Authority().token(bytes(20)))
    assert caught.value.code is Exit.UNREACHABLE


def test_an_address_without_a_port_is_usage(tmp_path: Path) -> None:
    """The example shows how."""
    with pytest.raises(ProbeError, match="HOST:PORT") as caught:
        enrol.enrol(
            StateDirectory(tmp_path),
            coordinator="localhost",
            token_text=Authority().token(bytes(20)),
            version="0",
            wall=wall_us(),
        )
    assert caught.value.code is Exit.USAGE


def test_a_clock_ten_minutes_off_enrols_with_a_plain_warning(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Which way, how much, what it means and how to repair it."""
    made = ask(tmp_path, port=coordinator.enrol_port, token=coordinator.token, wall=wall_us(-600.0))
    assert made.clock_note is not None
    assert "10 min behind the coordinator's" in made.clock_note
    assert "clock_suspect" in made.clock_note
    assert "timedatectl set-ntp true" in made.clock_note


def test_a_clock_years_off_is_told_before_tls_fails(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The coordinator's certificate would not be valid yet: say that it is the clock."""
    years = -timedelta(days=1000).total_seconds()
    error = refusal(
        tmp_path, port=coordinator.enrol_port, token=coordinator.token, wall=wall_us(years)
    )
    assert error.code is Exit.CLOCK_OFF
    assert "set the clock" in str(error)
    assert coordinator.seen.enrolments == []


def test_a_state_directory_that_cannot_be_made_is_named(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(ProbeError, match="state") as caught:
        ask(tmp_path / "state", port=coordinator.enrol_port, token=coordinator.token)
    assert caught.value.code is Exit.STATE_UNUSABLE


def test_the_servers_chain_is_read_without_trust(coordinator: Coordinator) -> None:
    """Leaf and CA, as the server sends them."""
    chain = enrol._server_chain("127.0.0.1", coordinator.enrol_port)
    assert ssl.DER_cert_to_PEM_cert(chain[-1]).encode() == coordinator.authority.pem
    assert len(chain) == 2
