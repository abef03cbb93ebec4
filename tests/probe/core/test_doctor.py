"""What readings of a machine mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from probe.core.doctor import (
    CoordinatorReading,
    Finding,
    Level,
    Readings,
    ResolverReading,
    as_data,
    examine,
    exit_code,
    render,
)

ANSWERS = ResolverReading(server="192.0.2.53", rtt_us=1200, trouble=None)
WELL = Readings(
    without_icmp={},
    raw_icmp=frozenset(),
    families=frozenset({4, 6}),
    stamps_warm=True,
    error_queue=True,
    resolvers=(ANSWERS,),
    authorities=140,
    clock_synchronised=True,
    receive_buffer_max_bytes=4 << 20,
    open_files=4096,
    uid=999,
    capabilities=0,
    has_systemd=True,
    local_ports=28_232,
    free_mib=9000.0,
    coordinator=CoordinatorReading(
        endpoint="192.0.2.9:7443", tcp_rtt_us=20_000, icmp_rtt_us=19_000, trouble=None
    ),
)
REACHED = CoordinatorReading(endpoint="c:1", tcp_rtt_us=20_000, icmp_rtt_us=None, trouble=None)


def ailing(**changes: Any) -> tuple[Finding, ...]:
    """The findings that are not well when these readings are so."""
    return tuple(f for f in examine(replace(WELL, **changes)) if f.level is not Level.OK)


def test_a_machine_that_is_well() -> None:
    """Nothing costs anything, nothing is to be done."""
    assert ailing() == ()
    assert all(finding.costs == finding.fix == "" for finding in examine(WELL))
    assert exit_code(examine(WELL)) == 0


@pytest.mark.parametrize(
    ("changes", "name", "level", "costs", "fix"),
    [
        (
            {"raw_icmp": frozenset({6})},
            "icmp over IPv6",
            Level.LIMITED,
            "CAP_NET_RAW",
            "sysctl -w 'net.ipv4.ping_group_range=",
        ),
        (
            {"without_icmp": {4: "closed"}},
            "icmp over IPv4",
            Level.MISSING,
            "not_run",
            "sysctl -w 'net.ipv4.ping_group_range=",
        ),
        ({"families": frozenset({4})}, "IPv6", Level.LIMITED, "not_run", "ip -6 route"),
        ({"stamps_warm": False}, "kernel receive stamps", Level.LIMITED, "off by", "ip link"),
        ({"error_queue": False}, "ICMP error queue", Level.LIMITED, "reject", "nft list"),
        ({"authorities": 0}, "TLS authorities", Level.MISSING, "tls_untrusted", "ca-cert"),
        ({"clock_synchronised": False}, "clock", Level.LIMITED, "clock_suspect", "timedatectl"),
        ({"clock_synchronised": None}, "clock", Level.LIMITED, "clock_suspect", "timedatectl"),
        (
            {"receive_buffer_max_bytes": 212992},
            "receive buffer",
            Level.LIMITED,
            "local_overload",
            "rmem_max=4194304",
        ),
        (
            {"receive_buffer_max_bytes": None},
            "receive buffer",
            Level.LIMITED,
            "local_overload",
            "rmem_max",
        ),
        ({"open_files": 256}, "open files", Level.LIMITED, "local_no_buffer", "LimitNOFILE"),
        ({"local_ports": 1000}, "local ports", Level.LIMITED, "local_no_port", "port_range"),
        ({"local_ports": None}, "local ports", Level.LIMITED, "local_no_port", "port_range"),
        ({"free_mib": 10.0}, "disk", Level.LIMITED, "evicted", "cap_mib"),
        (
            {"coordinator": replace(REACHED, tcp_rtt_us=None, trouble="connect: refused")},
            "coordinator c:1",
            Level.MISSING,
            "spool",
            "probe check tcp://",
        ),
        (
            {"coordinator": replace(REACHED, icmp_rtt_us=120_000)},
            "way out",
            Level.LIMITED,
            "not this network's",
            "tunnels",
        ),
        (
            {"coordinator": replace(REACHED, icmp_rtt_us=80_000)},
            "way out",
            Level.LIMITED,
            "not this network's",
            "tunnels",
        ),
        ({"uid": 0}, "privileges", Level.LIMITED, "none of them", "soundings-probe.service"),
        ({"capabilities": 3}, "privileges", Level.LIMITED, "none of them", "as a user"),
        ({"has_systemd": False}, "supervision", Level.LIMITED, "unreported", "SIGTERM"),
        (
            {"resolvers": (replace(ANSWERS, trouble="answers with rcode 2"),)},
            "resolver 192.0.2.53",
            Level.LIMITED,
            "resolve",
            "probe.toml",
        ),
        (
            {"resolvers": (replace(ANSWERS, rtt_us=None, trouble="no answer"),)},
            "resolver 192.0.2.53",
            Level.MISSING,
            "resolve",
            "resolv.conf",
        ),
        (
            {"resolvers": (replace(ANSWERS, rtt_us=None),)},
            "resolver 192.0.2.53",
            Level.MISSING,
            "resolve",
            "resolv.conf",
        ),
    ],
)
def test_each_ailment(
    changes: dict[str, Any], name: str, level: Level, costs: str, fix: str
) -> None:
    """One bad reading gives one finding, with what it costs and the command that repairs it."""
    (finding,) = ailing(**changes)
    assert (finding.name, finding.level) == (name, level)
    assert costs in finding.costs
    assert fix in finding.fix


@pytest.mark.parametrize(
    "coordinator",
    [None, REACHED, replace(REACHED, icmp_rtt_us=79_000), replace(REACHED, icmp_rtt_us=1000)],
)
def test_a_way_that_is_no_tunnel(coordinator: CoordinatorReading | None) -> None:
    """Not enrolled, no echo, or echo and connection close together: nothing to suspect."""
    assert ailing(coordinator=coordinator) == ()


def test_without_a_state_directory_no_disk_is_judged() -> None:
    """Before an enrolment there is nothing to fill."""
    assert "disk" not in {finding.name for finding in examine(replace(WELL, free_mib=None))}


def test_authorities_in_a_directory() -> None:
    """A store that is read as needed cannot be counted, and is well."""
    assert ailing(authorities=None) == ()


def test_no_network_at_all() -> None:
    """Without an address of any family, both are missing; ICMP is then no permission's fault."""
    findings = ailing(families=frozenset(), without_icmp={4: "no route", 6: "no route"})
    assert [(f.name, f.level) for f in findings] == [
        ("icmp over IPv4", Level.LIMITED),
        ("icmp over IPv6", Level.LIMITED),
        ("IPv4", Level.MISSING),
        ("IPv6", Level.MISSING),
    ]
    assert exit_code(findings) == 1


def test_exit_codes() -> None:
    """A missing permission for ICMP is 9, another lack 1, limits alone 0."""
    assert exit_code(ailing(without_icmp={4: "x"}, authorities=0)) == 9
    assert exit_code(ailing(authorities=0)) == 1
    assert exit_code(ailing(clock_synchronised=None)) == 0


PAGE = """\
ok       IPv4   here
missing  clock  off
                costs: time
                fix:   mend it

1 ok, 0 limited, 1 missing
"""


def test_page() -> None:
    """A line per finding; cost and fix below where there are any."""
    findings = (
        Finding(name="IPv4", level=Level.OK, says="here"),
        Finding(name="clock", level=Level.MISSING, says="off", costs="time", fix="mend it"),
    )
    assert render(findings) == PAGE
    assert render(()) == "\n0 ok, 0 limited, 0 missing\n"


def test_data() -> None:
    """The data hold every finding, the summary and the exit code."""
    data = json.loads(json.dumps(as_data(ailing(authorities=0))))
    assert data["exit_code"] == 1
    assert data["summary"] == "0 ok, 0 limited, 1 missing"
    assert data["findings"][0]["level"] == "missing"
