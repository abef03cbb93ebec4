"""What the readings of a machine mean for what can be measured from it: rows of one table.

Every finding says in words what is so, what cannot be measured because of it, and the command that
repairs it. Three levels: `ok`; `limited`, where results come but say less or come from fewer places;
`missing`, where a whole kind of check cannot run or nothing can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

# Below this a pause of the loop loses echo replies: the usual 212,992 hold exactly 512 of them.
RECEIVE_BUFFER_MIN_BYTES: Final = 1 << 20
# Every check under way holds a socket or two, and the link and the spool need some as well.
OPEN_FILES_MIN: Final = 1024
# Four minutes of closed connections keep a port each; a fleet's plan opens some tens a second.
LOCAL_PORTS_MIN: Final = 10_000
# The spool's usual cap, and as much again for whoever else writes.
FREE_MIB_MIN: Final = 512.0
# An echo is answered by the far end or by a tunnel's; a connection always by the far end (or a proxy).
GAP_MS: Final = 100.0
GAP_TWICE_MS: Final = 60.0
_SYSCTL_FILE: Final = "/etc/sysctl.d/60-soundings.conf"


class Level(StrEnum):
    """How well something works here."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the examination. `costs` and `fix` are empty when all is well."""

    name: str
    level: Level
    says: str
    costs: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverReading:
    """How one configured name server answered a question for the root's name servers."""

    server: str
    rtt_us: int | None  # None: no answer
    trouble: str | None  # None: a good answer


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorReading:
    """How the coordinator's fleet door was reached, and the host it is on. Enrolled probes only."""

    endpoint: str
    tcp_rtt_us: int | None  # None: no connection
    icmp_rtt_us: int | None  # None: no echo
    trouble: str | None  # None: connected


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What was read off this machine. None: it would not say."""

    without_icmp: dict[int, str]  # by family, the reason
    raw_icmp: frozenset[int]  # families whose echo socket is a raw one
    families: frozenset[int]
    stamps_warm: bool
    error_queue: bool
    resolvers: tuple[ResolverReading, ...]
    authorities: int | None  # certificates that TLS trusts; None: a directory, counted by nobody
    clock_synchronised: bool | None
    receive_buffer_max_bytes: int | None
    open_files: int
    uid: int
    capabilities: int  # the effective set, as a bit mask
    has_systemd: bool
    local_ports: int | None
    free_mib: float | None  # where the state directory is; None: there is none yet
    coordinator: CoordinatorReading | None  # None: not enrolled


def examine(readings: Readings) -> tuple[Finding, ...]:
    """Every finding, in the order in which a person should read them."""
    return (
        *(_icmp(readings, family) for family in (4, 6)),
        *(_family(readings, family) for family in (4, 6)),
        _stamps(readings),
        _error_queue(readings),
        *(_resolver(reading) for reading in readings.resolvers),
        _authorities(readings),
        _clock(readings),
        _receive_buffer(readings),
        _open_files(readings),
        _local_ports(readings),
        *_disk(readings),
        *_coordinator(readings),
        _privileges(readings),
        _supervision(readings),
    )


def _icmp(readings: Readings, family: int) -> Finding:
    name = f"icmp over IPv{family}"
    why = readings.without_icmp.get(family)
    if why is None and family not in readings.raw_icmp:
        return Finding(name=name, level=Level.OK, says="unprivileged echo socket opens")
    setting = "net.ipv4.ping_group_range=0 2147483647"
    fix = f"sysctl -w '{setting}' && echo '{setting}' >> {_SYSCTL_FILE}"
    if why is None:
        return Finding(
            name=name,
            level=Level.LIMITED,
            says="raw echo socket opens, by CAP_NET_RAW; the unprivileged one does not",
            costs="nothing while this user holds CAP_NET_RAW; without it, icmp checks end as not_run",
            fix=fix,
        )
    return Finding(
        name=name,
        level=Level.MISSING if family in readings.families else Level.LIMITED,
        says=why,
        costs=f"icmp checks over IPv{family} end as not_run (unsupported)",
        fix=fix,
    )


def _family(readings: Readings, family: int) -> Finding:
    name = f"IPv{family}"
    if family in readings.families:
        return Finding(name=name, level=Level.OK, says="an address and a route are here")
    return Finding(
        name=name,
        level=Level.LIMITED if readings.families else Level.MISSING,
        says="no address beyond loopback and link-local",
        costs=f"checks over IPv{family} end as not_run (unsupported)",
        fix=f"ip -{family} address; ip -{family} route  (then ask the provider for IPv{family})",
    )


def _stamps(readings: Readings) -> Finding:
    name = "kernel receive stamps"
    if readings.stamps_warm:
        return Finding(
            name=name, level=Level.OK, says="a packet read late kept its time of arrival"
        )
    return Finding(
        name=name,
        level=Level.LIMITED,
        says="the kernel stamps no packets, or with the time of the reading",
        costs="times rest on the process's clock and are off by milliseconds under load",
        fix="ip link set lo up  (else: another kernel; gVisor and OpenVZ have no stamps)",
    )


def _error_queue(readings: Readings) -> Finding:
    name = "ICMP error queue"
    if readings.error_queue:
        return Finding(name=name, level=Level.OK, says="a closed loopback port answered with ICMP")
    return Finding(
        name=name,
        level=Level.LIMITED,
        says="no ICMP error came back from a closed loopback port",
        costs="a firewall's reject looks like a closed port, and no router is named",
        fix="nft list ruleset  (allow icmp on lo; else another kernel)",
    )


def _resolver(reading: ResolverReading) -> Finding:
    name = f"resolver {reading.server}"
    if reading.trouble is None and reading.rtt_us is not None:
        return Finding(name=name, level=Level.OK, says=f"answers in {reading.rtt_us / 1000:.1f} ms")
    return Finding(
        name=name,
        level=Level.LIMITED if reading.rtt_us is not None else Level.MISSING,
        says=reading.trouble or "no answer",
        costs="checks of names fail at resolve, from here only",
        fix='set resolvers = ["ADDRESS"] in probe.toml, or repair /etc/resolv.conf',
    )


def _authorities(readings: Readings) -> Finding:
    name = "TLS authorities"
    if readings.authorities is None:
        return Finding(name=name, level=Level.OK, says="read from a directory as needed")
    if readings.authorities > 0:
        return Finding(name=name, level=Level.OK, says=f"{readings.authorities} are trusted")
    return Finding(
        name=name,
        level=Level.MISSING,
        says="no authority is trusted",
        costs="every https and tls check ends as tls_untrusted",
        fix="apt-get install ca-certificates  (or set ca_file in probe.toml)",
    )


def _clock(readings: Readings) -> Finding:
    name = "clock"
    if readings.clock_synchronised:
        return Finding(name=name, level=Level.OK, says="the kernel says it is synchronised")
    unknown = readings.clock_synchronised is None
    return Finding(
        name=name,
        level=Level.LIMITED,
        says="the kernel would not say" if unknown else "nobody synchronises it",
        costs="rows of this vantage may fall into the wrong minute and be marked clock_suspect",
        fix="timedatectl set-ntp true  (or: apt-get install chrony)",
    )


def _receive_buffer(readings: Readings) -> Finding:
    name, size = "receive buffer", readings.receive_buffer_max_bytes
    if size is not None and size >= RECEIVE_BUFFER_MIN_BYTES:
        return Finding(name=name, level=Level.OK, says=f"up to {size} bytes")
    setting = "net.core.rmem_max=4194304"
    return Finding(
        name=name,
        level=Level.LIMITED,
        says="the kernel would not say its limit" if size is None else f"at most {size} bytes",
        costs="a pause of this machine drops echo replies beyond a few hundred (local_overload)",
        fix=f"sysctl -w {setting} && echo {setting} >> {_SYSCTL_FILE}",
    )


def _open_files(readings: Readings) -> Finding:
    name = "open files"
    if readings.open_files >= OPEN_FILES_MIN:
        return Finding(name=name, level=Level.OK, says=f"up to {readings.open_files}")
    return Finding(
        name=name,
        level=Level.LIMITED,
        says=f"at most {readings.open_files}",
        costs="many checks at once end as local_no_buffer",
        fix="ulimit -n 4096  (in the unit: LimitNOFILE=4096)",
    )


def _local_ports(readings: Readings) -> Finding:
    name, count = "local ports", readings.local_ports
    if count is not None and count >= LOCAL_PORTS_MIN:
        return Finding(name=name, level=Level.OK, says=f"{count} to connect from")
    setting = "net.ipv4.ip_local_port_range=32768 60999"
    return Finding(
        name=name,
        level=Level.LIMITED,
        says="the kernel would not say its range" if count is None else f"{count} to connect from",
        costs="frequent connections to one target end as local_no_port",
        fix=f"sysctl -w '{setting}' && echo '{setting}' >> {_SYSCTL_FILE}",
    )


def _disk(readings: Readings) -> tuple[Finding, ...]:
    free_mib = readings.free_mib
    if free_mib is None:
        return ()
    if free_mib >= FREE_MIB_MIN:
        return (Finding(name="disk", level=Level.OK, says=f"{free_mib:.0f} MiB are free"),)
    finding = Finding(
        name="disk",
        level=Level.LIMITED,
        says=f"{free_mib:.0f} MiB are free where the spool lies",
        costs="rows are evicted early when the coordinator is away",
        fix="free some space, or set cap_mib in section [spool] of probe.toml",
    )
    return (finding,)


def _coordinator(readings: Readings) -> tuple[Finding, ...]:
    """Whether it is there; and whether echo and connection meet the same machine on the way."""
    read = readings.coordinator
    if read is None:
        return ()
    name = f"coordinator {read.endpoint}"
    if read.tcp_rtt_us is None:
        finding = Finding(
            name=name,
            level=Level.MISSING,
            says=read.trouble or "no connection",
            costs="rows wait in the spool; the plan stays as it is",
            fix="soundings probe check tcp://HOST:PORT --explain  (then the firewall in between)",
        )
        return (finding,)
    connected = Finding(
        name=name, level=Level.OK, says=f"connects in {read.tcp_rtt_us / 1000:.1f} ms"
    )
    return (connected, *_tunnel(read.tcp_rtt_us / 1000, read.icmp_rtt_us))


def _tunnel(tcp_ms: float, icmp_rtt_us: int | None) -> tuple[Finding, ...]:
    if icmp_rtt_us is None:
        return ()
    icmp_ms = icmp_rtt_us / 1000
    gap_ms, lower_ms = abs(tcp_ms - icmp_ms), min(tcp_ms, icmp_ms)
    both = f"echo {icmp_ms:.1f} ms, connection {tcp_ms:.1f} ms to the same host"
    if gap_ms < GAP_MS and not (gap_ms >= GAP_TWICE_MS and gap_ms >= lower_ms):
        return (Finding(name="way out", level=Level.OK, says=both),)
    finding = Finding(
        name="way out",
        level=Level.LIMITED,
        says=f"{both}: something in between answers one of them (VPN, proxy, NAT)",
        costs="what is measured may be that machine's way, not this network's",
        fix="run the probe where nothing tunnels its packets, or tell the coordinator's operator",
    )
    return (finding,)


def _privileges(readings: Readings) -> Finding:
    name = "privileges"
    if readings.uid != 0 and readings.capabilities == 0:
        return Finding(name=name, level=Level.OK, says=f"uid {readings.uid}, no capabilities")
    return Finding(
        name=name,
        level=Level.LIMITED,
        says=f"uid {readings.uid}, {readings.capabilities.bit_count()} capabilities",
        costs="nothing; but the probe needs none of them",
        fix="run it as the unit deploy/systemd/soundings-probe.service does, as a user of its own",
    )


def _supervision(readings: Readings) -> Finding:
    name = "supervision"
    if readings.has_systemd:
        return Finding(name=name, level=Level.OK, says="systemd runs here")
    return Finding(
        name=name,
        level=Level.LIMITED,
        says="no systemd",
        costs="nothing restarts a probe that died; its slots become unreported",
        fix="soundings probe run under the supervisor that is here (it stops on SIGTERM)",
    )


# --- For people and as data ----------------------------------------------------------------------


def render(findings: Sequence[Finding]) -> str:
    """One line per finding, and below it what it costs and how to repair it."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level.value:8} {finding.name:{width}}  {finding.says}")
        if finding.costs:
            lines.append(f"{'':8} {'':{width}}  costs: {finding.costs}")
        if finding.fix:
            lines.append(f"{'':8} {'':{width}}  fix:   {finding.fix}")
    return "\n".join([*lines, "", summary(findings)]) + "\n"


def summary(findings: Sequence[Finding]) -> str:
    """The last line: how much of it is well."""
    counts = {level: sum(one.level is level for one in findings) for level in Level}
    return ", ".join(f"{counts[level]} {level.value}" for level in Level)


def exit_code(findings: Sequence[Finding]) -> int:
    """0: nothing is missing; 9: a permission is (ICMP); 1: something else is."""
    missing = [finding.name for finding in findings if finding.level is Level.MISSING]
    if any(name.startswith("icmp") for name in missing):
        return 9
    return 1 if missing else 0


def as_data(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as JSON can hold them."""
    return {
        "exit_code": exit_code(findings),
        "summary": summary(findings),
        "findings": [asdict(finding) for finding in findings],
    }
