from __future__ import annotations

import socket
from pathlib import Path

from probe.io.vitals import Lateness, Notifier, cpu_s, notifier, rss_bytes
from proto.session_codec import heartbeat_to_wire
from tests.fakes.vantage import a_heartbeat


def test_this_process_has_memory_and_has_used_cpu() -> None:
    """Between what an interpreter needs and what this machine has."""
    rss = rss_bytes()
    assert rss is not None
    assert 5 << 20 < rss < 64 << 30
    assert cpu_s() > 0


def test_the_99th_percentile_is_of_the_window() -> None:
    """None before the first start; one in a hundred may be worse."""
    lateness = Lateness()
    assert lateness.p99_us() is None
    for value in range(1, 101):
        lateness.add(value)
    assert lateness.p99_us() == 99
    for _ in range(1000):
        lateness.add(-5)
    assert lateness.p99_us() == 0


def test_a_daily_check_that_is_hours_late_fits_a_heartbeat() -> None:
    """A machine that slept for a night says so, and goes on."""
    lateness = Lateness()
    lateness.add(8 * 3600 * 10**6)
    assert heartbeat_to_wire(a_heartbeat(lateness_us_p99=lateness.p99_us())).lateness_us_p99 > 0


def test_without_systemd_nothing_is_told() -> None:
    """An empty environment gives a notifier that is silent."""
    silent = notifier({})
    assert silent == Notifier(None, None)
    silent.tell("READY=1")


def test_the_watchdog_is_beaten_twice_per_period() -> None:
    """As systemd advises; nonsense in the variable means nobody watches."""
    assert notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s == 15
    assert notifier({"WATCHDOG_USEC": "soon"}).watchdog_s is None
    assert notifier({"WATCHDOG_USEC": "0"}).watchdog_s is None


def test_words_reach_the_socket_by_path_and_by_abstract_name(tmp_path: Path) -> None:
    """Both forms of NOTIFY_SOCKET."""
    for address, bound in (
        (str(tmp_path / "notify"), str(tmp_path / "notify")),
        (f"@soundings{tmp_path}", f"\0soundings{tmp_path}"),
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(bound)
            notifier({"NOTIFY_SOCKET": address}).tell("READY=1")
            assert listener.recv(100) == b"READY=1"


def test_a_socket_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """Systemd was restarted at the wrong moment."""
    notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("WATCHDOG=1")
