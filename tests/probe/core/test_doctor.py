"""What readings of a machine mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from probe.core.doctor import ClockReading, Readings, ResolverReading, examine
from probe.core.finding import Finding, Level, exit_code
from probe.core.keeping import StateReading
from probe.core.wayout import HostReading, WayReading
from proto.model import HostLimits

ANSWERS = ResolverReading(server="192.0.2.53", rtt_us=1200, trouble=None)
DOOR = HostReading(name="c:1", family=4, address="9.9.9.9", tcp_rtt_us=20_000, icmp_rtt_us=19_000)
WAY = WayReading(family=4, own="9.9.9.1", interface="eth0", mtu=1500, link_type=1)
SOUND = ClockReading(synchronised=True, bound_us=3200, correction_ppm=-12.5)
WELL = Readings(
    without_icmp={},
    raw_icmp=frozenset(),
    trace_sockets={},
    families=frozenset({4, 6}),
    stamps_warm=True,
    send_stamps=True,
    error_queue=True,
    resolvers=(ANSWERS,),
    authorities=140,
    clock=SOUND,
    receive_buffer_max_bytes=4 << 20,
    open_files=4096,
    uid=999,
    capabilities=0,
    has_systemd=True,
    local_ports=28_232,
    state=StateReading(free_mib=9000.0),
    coordinator=DOOR,
    hosts=(DOOR,),
    ways=(WAY,),
)


def ailing(**changes: Any) -> tuple[Finding, ...]:
    """The findings that are not well when these readings are so."""
    return tuple(f for f in examine(replace(WELL, **changes)) if f.level is not Level.OK)


def test_a_machine_that_is_well() -> None:
    """Nothing costs anything, nothing is to be done."""
    assert ailing() == ()
    assert all(finding.costs == finding.fix == "" for finding in examine(WELL))
    assert exit_code(examine(WELL)) == 0


AILMENTS: list[tuple[dict[str, Any], str, Level, str, str]] = [
    (
        {"raw_icmp": frozenset({6}), "trace_sockets": {6: 3}},
        "icmp over IPv6",
        Level.LIMITED,
        "CAP_NET_RAW",
        "sysctl -w net.ipv4.ping_group_range='0 2147483647' \\\n  >> /etc/sysctl.d/",
    ),
    (
        {"without_icmp": {4: "closed"}},
        "icmp over IPv4",
        Level.BROKEN,
        "not_run: unsupported",
        "AmbientCapabilities=CAP_NET_RAW",
    ),
    ({"families": frozenset({4})}, "IPv6", Level.LIMITED, "not_run", "ip -6 route"),
    ({"stamps_warm": False}, "kernel receive stamps", Level.LIMITED, "off by", "ip link"),
    ({"send_stamps": False}, "kernel send stamps", Level.LIMITED, "tx_stamps", "kernel"),
    ({"error_queue": False}, "ICMP error queue", Level.LIMITED, "reject", "nft list"),
    ({"authorities": 0}, "TLS authorities", Level.BROKEN, "tls_untrusted", "ca-cert"),
    *(
        ({"clock": clock}, "clock", Level.LIMITED, "clock_suspect", "timedatectl")
        for clock in (
            ClockReading(synchronised=False, bound_us=16_000_000, correction_ppm=0.0),
            ClockReading(synchronised=None),
            replace(SOUND, bound_us=1_000_001),
            replace(SOUND, correction_ppm=-401.0),
        )
    ),
    *(
        (
            {"receive_buffer_max_bytes": size},
            "receive buffer",
            Level.LIMITED,
            "local_overload",
            "rmem_max='4194304'",
        )
        for size in (212992, None)
    ),
    ({"open_files": 256}, "open files", Level.LIMITED, "local_no_buffer", "LimitNOFILE=528"),
    ({"local_ports": 1000}, "local ports", Level.LIMITED, "local_no_port", "port_range"),
    ({"local_ports": None}, "local ports", Level.LIMITED, "local_no_port", "port_range"),
    ({"state": StateReading(free_mib=10.0)}, "disk", Level.LIMITED, "evicted", "cap_mib"),
    (
        {"limits": HostLimits(per_target_per_minute=23.9)},
        "traces",
        Level.LIMITED,
        "not_run: policy",
        "per_target_per_minute = 24",
    ),
    (
        {"coordinator": replace(DOOR, tcp_rtt_us=None, trouble="refused at connect")},
        "coordinator c:1",
        Level.BROKEN,
        "spool",
        "probe check tcp://c:1",
    ),
    (
        {"coordinator": replace(DOOR, tcp_rtt_us=None, tried=False)},
        "coordinator c:1",
        Level.LIMITED,
        "nothing for the probe",
        "probe check tcp://c:1",
    ),
    ({"uid": 0}, "privileges", Level.LIMITED, "needs none", "soundings-probe.service"),
    ({"capabilities": 3}, "privileges", Level.LIMITED, "needs none", "as its own user"),
    ({"has_systemd": False}, "supervision", Level.LIMITED, "unreported", "SIGTERM"),
    *(
        ({"resolvers": (reading,)}, "resolver 192.0.2.53", level, costs, "probe.toml")
        for reading, level, costs in (
            (replace(ANSWERS, trouble="answers with rcode 2"), Level.LIMITED, "resolve"),
            (replace(ANSWERS, rtt_us=None, trouble="no answer"), Level.BROKEN, "resolve"),
            (replace(ANSWERS, rtt_us=None), Level.BROKEN, "resolve"),
            (replace(ANSWERS, invents="192.0.2.80"), Level.LIMITED, "looks alive"),
            (replace(ANSWERS, rewrites="192.0.2.80"), Level.LIMITED, "stranger"),
            (replace(ANSWERS, hides_ipv6=True), Level.LIMITED, "stranger"),
        )
    ),
]


@pytest.mark.parametrize(("changes", "name", "level", "costs", "fix"), AILMENTS)
def test_each_ailment(
    changes: dict[str, Any], name: str, level: Level, costs: str, fix: str
) -> None:
    """One bad reading gives one finding, with what it costs and the command that repairs it."""
    (finding,) = ailing(**changes)
    assert (finding.name, finding.level) == (name, level)
    assert costs in finding.costs
    assert fix in finding.fix


def test_authorities_in_a_directory() -> None:
    """A store that is read as needed cannot be counted, and is well."""
    assert ailing(authorities=None) == ()


def test_the_kind_of_icmp_socket_is_named() -> None:
    """Datagram, or raw behind a filter with what is kept for traces, or none and why."""
    raw = replace(WELL, raw_icmp=frozenset({4, 6}), trace_sockets={4: 4, 6: 4})
    none = replace(WELL, without_icmp={4: "closed", 6: "closed"})
    said = [examine(readings)[0] for readings in (WELL, raw, none)]
    assert {finding.name for finding in said} == {"icmp over IPv4, IPv6"}
    assert "datagram socket" in said[0].says
    assert "BPF filter, by CAP_NET_RAW" in said[1].says
    assert "4 of 4 raw sockets are kept for traces" in said[1].says
    assert said[2].says == "no socket: closed"


def test_the_clock_in_words() -> None:
    """The bound of the error and the correction, as the kernel has them."""
    (clock,) = (finding for finding in examine(WELL) if finding.name == "clock")
    assert clock.says == (
        "synchronised, off by 3.2 ms at most; the oscillator is corrected by -12.5 ppm"
    )


def test_not_enrolled() -> None:
    """Without a coordinator none is judged."""
    assert ailing(coordinator=None, hosts=()) == ()


def test_no_network_at_all() -> None:
    """Without an address of any family, both are broken; ICMP is then no permission's fault."""
    findings = ailing(families=frozenset(), without_icmp={4: "no route", 6: "no route"})
    assert [(f.name, f.level) for f in findings] == [
        ("icmp over IPv4, IPv6", Level.LIMITED),
        ("IPv4", Level.BROKEN),
        ("IPv6", Level.BROKEN),
    ]
    assert exit_code(findings) == 1


def test_exit_codes() -> None:
    """A missing permission for ICMP is 9, another lack 1, limits alone 0."""
    assert exit_code(ailing(without_icmp={4: "x"}, authorities=0)) == 9
    assert exit_code(ailing(authorities=0)) == 1
    assert exit_code(ailing(send_stamps=False)) == 0
