"""The fleet as an operator reads it on a terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from coordinator.core.registry import FIGURES
from coordinator.core.roster import HEAD, full, line
from proto.model import HostLimits

SILENT: dict[str, Any] = {
    "probe_id": "p0a1b2c3d4e5f",
    "name": "fra-1",
    "state": "enrolled",
    "asn": None,
    "country": None,
    "provider": None,
    "labels": {},
    "families": [],
    "capabilities": [],
    "limits": None,
    "refused": [],
    **dict.fromkeys(
        ("asn_source", "country_source", "seen_holder", "state_reason", "state_by", "state_at_us")
    ),
    **dict.fromkeys(("declared_asn", "declared_country", "seen_asn", "seen_country")),
    **dict.fromkeys(FIGURES),
}
SPEAKING = SILENT | {
    "state": "connected",
    "asn": 4_200_000_000,
    "country": "DE",
    "provider": "hoster",
    "labels": {"tier": "vps", "a": "b"},
    "families": [4, 6],
    "capabilities": ["icmp4", "rx_stamps"],
    "seen_at_us": 1_000_000,
    "version": "0.1.0",
    "plan_version": 7,
    "clock_offset_us": -40,
    "clock_error_us": 700,
    "clock_drift_ppb": 12_300,
    "clock_synchronised": True,
    "spool_rows": 5,
    "spool_bytes": 3 << 20,
    "evicted_rows": 2,
    "overloaded_slots": 9,
    "lateness_us_p99": 1_250,
    "queue_depth": 4,
    "receive_drops": 1,
    "uptime_s": 200.0,
    "cpu_s": 1.0,
    "rss_bytes": 50 << 20,
    "address": "192.0.2.7",
    "translated": True,
    "limits": asdict(HostLimits(concurrent=3)),
    "refused": ["a is asked too often"],
}


def test_a_line_has_every_figure_under_its_head() -> None:
    """A dash stands for what was not said: no probe has lost 0 rows that never spoke of any."""
    said = line(SPEAKING)
    assert said.split() == [
        *("p0a1b2c3d4e5f", "fra-1", "connected", "4200000000", "DE", "5", "2", "9"),
        *("1.2", "ms", "-0.0", "±0.7", "ms"),
    ]
    assert line(SPEAKING | {"clock_error_us": None}).endswith("  -0.0 ms")
    assert line(SILENT).split()[3:] == ["-"] * 7
    assert HEAD.index("CLOCK") == said.index("-0.0")
    crowded = dict.fromkeys(("spool_rows", "evicted_rows", "overloaded_slots"), 9_999_999)
    late = {
        "lateness_us_p99": 99_999_000,
        "clock_offset_us": -99_000,
        "name": "a-name-that-is-long",
    }
    most = line(SPEAKING | crowded | late)
    assert "a-name-that… " in most
    assert most.split().count("9999k") == 3
    assert " 12M " in line(SPEAKING | {"evicted_rows": 12_345_678})
    assert max(len(HEAD), len(said), len(most)) <= 100


def test_a_probe_in_full_says_what_each_figure_means() -> None:
    """Every figure that it said is there; what it did not say is called so, and is never 0."""
    text = "\n".join(full(SPEAKING, now_us=3_500_000))
    for words in (
        "2 s ago",
        "AS4200000000",
        "a=b, tier=vps",
        "IPv4, IPv6",
        "icmp4, rx_stamps",
        "disciplined, gains +12.3 ppm",
        "5 rows, 3.0 MiB",
        "2 rows lost",
        "9 slots",
        "4 checks",
        "1 replies dropped",
        "50.0 MiB",
        "0.5 % of one core",
        "192.0.2.7, behind NAT: it sends from another",
        "50 checks a second, 60 a minute to one target, 3 at once (64 of them TLS), 5000 echoes out",
        "REFUSED        a is asked too often",
    ):
        assert words in text
    silent = "\n".join(full(SILENT, now_us=0))
    assert "not since the coordinator's start" in silent
    assert "does not say whether" in silent
    assert "drift not known yet" in silent
    assert " 0" not in silent.replace("p0a1b2c3d4e5f", "")
    assert "REFUSED" not in silent
    untranslated = full(SPEAKING | {"translated": False}, now_us=0)
    assert any(text.endswith("192.0.2.7, its own") for text in untranslated)
    undisciplined = full(SPEAKING | {"clock_synchronised": False}, now_us=0)
    assert any("NOT disciplined" in text for text in undisciplined)
