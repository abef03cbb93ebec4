"""What the readings of a machine mean for what can be measured from it: rows of one table.

Every finding says in words what is so, what cannot be measured because of it, and the command that
repairs it (probe.core.finding).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from probe.core.finding import Finding, broken, joined, limited, well
from probe.core.keeping import StateReading, find_kept, find_limits
from probe.core.limits import TRACES_MAX
from probe.core.wayout import HostReading, WayReading, find_ways
from proto.model import HostLimits

# Below this a pause of the loop loses echo replies: the usual 212,992 hold exactly 512 of them.
RECEIVE_BUFFER_MIN_BYTES: Final = 1 << 20
# Four minutes of closed connections keep a port each; a fleet's plan opens some tens a second.
LOCAL_PORTS_MIN: Final = 10_000
# Rows of several vantages line up in bins of seconds; a bound above this says little.
CLOCK_BOUND_MAX_US: Final = 1_000_000
# A sound crystal is within 100 ppm; a correction near the kernel's limit of 500 cannot go on.
DRIFT_MAX_PPM: Final = 400.0
_SYSCTL_FILE: Final = "/etc/sysctl.d/60-soundings.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverReading:
    """How one configured name server answered, asked by itself."""

    server: str
    rtt_us: int | None  # None: no answer
    trouble: str | None  # None: a good answer
    invents: str | None = None  # what it answers for a name that nobody registered
    rewrites: str | None = None  # what it answers for a name whose address is known, if another
    hides_ipv6: bool = False  # no AAAA for a name that has one


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """What adjtimex(2) says of the kernel's clock. None: it would not say."""

    synchronised: bool | None
    bound_us: int | None = None  # the kernel's own bound of the error
    correction_ppm: float | None = None  # what it is told to correct the oscillator by


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What was read off this machine. None: it would not say."""

    without_icmp: dict[int, str]  # by family, the reason
    raw_icmp: frozenset[int]  # families whose echo socket is a raw one
    trace_sockets: dict[int, int]  # raw ones kept for traces, by family
    families: frozenset[int]
    stamps_warm: bool
    send_stamps: bool
    error_queue: bool
    resolvers: tuple[ResolverReading, ...]
    authorities: int | None  # certificates that TLS trusts; None: a directory, counted by nobody
    clock: ClockReading
    receive_buffer_max_bytes: int | None
    open_files: int
    uid: int
    capabilities: int  # the effective set, as a bit mask
    has_systemd: bool
    local_ports: int | None
    limits: HostLimits = field(default_factory=HostLimits)
    state: StateReading = field(default_factory=StateReading)
    coordinator: HostReading | None = None  # its fleet door, first of hosts; None: not enrolled
    hosts: tuple[HostReading, ...] = ()
    ways: tuple[WayReading, ...] = ()


def examine(readings: Readings) -> tuple[Finding, ...]:
    """Every finding, in the order in which a person should read them."""
    return (
        *joined((_icmp(readings, 4),), (_icmp(readings, 6),)),
        *joined((_family(readings, 4),), (_family(readings, 6),)),
        *find_ways(
            readings.hosts,
            readings.ways,
            named_elsewhere=readings.coordinator,
            sighting=readings.state.sighting,
        ),
        *_coordinator(readings),
        *(_resolver(reading) for reading in readings.resolvers),
        _stamps(readings),
        _send_stamps(readings),
        _error_queue(readings),
        _authorities(readings),
        _clock(readings.clock),
        _receive_buffer(readings),
        *find_limits(readings.limits, readings.state.checks, open_files=readings.open_files),
        _local_ports(readings),
        *find_kept(readings.state),
        _privileges(readings),
        _supervision(readings),
    )


def _sysctl(setting: str, value: str) -> str:
    """A command that sets it now, and writes the line that sets it at the next start."""
    return f"sysctl -w {setting}='{value}' \\\n  >> {_SYSCTL_FILE}"


def _icmp(readings: Readings, family: int) -> Finding:
    name = f"icmp over IPv{family}"
    why = readings.without_icmp.get(family)
    if why is None and family not in readings.raw_icmp:
        return well(name, "datagram socket, which needs no privileges; traces open their own")
    fix = (
        f"{_sysctl('net.ipv4.ping_group_range', '0 2147483647')}\n"
        "# or in the unit, both: CapabilityBoundingSet=CAP_NET_RAW\n"
        "# and AmbientCapabilities=CAP_NET_RAW"
    )
    if why is None:
        kept = readings.trace_sockets.get(family, 0)
        return limited(
            name,
            "raw socket behind a BPF filter, by CAP_NET_RAW; the datagram one is closed to this "
            f"group. {kept} of {TRACES_MAX} raw sockets are kept for traces",
            costs="nothing while the probe starts with CAP_NET_RAW; without it, icmp checks and traces "
            "by echo end as not_run: unsupported",
            fix=fix,
        )
    level = broken if family in readings.families else limited
    return level(
        name,
        f"no socket: {why}",
        costs="icmp checks and traces by echo of this family end as not_run: unsupported",
        fix=fix,
    )


def _family(readings: Readings, family: int) -> Finding:
    name = f"IPv{family}"
    if family in readings.families:
        return well(name, "an address and a route are here")
    level = limited if readings.families else broken
    return level(
        name,
        "no address beyond loopback and link-local",
        costs=f"checks over IPv{family} end as not_run: unsupported",
        fix=f"ip -{family} address; ip -{family} route\n# then ask the provider for IPv{family}",
    )


def _coordinator(readings: Readings) -> tuple[Finding, ...]:
    read = readings.coordinator
    if read is None:
        return ()
    name = f"coordinator {read.name}"
    if read.tcp_rtt_us is not None:
        return (well(name, f"connects in {read.tcp_rtt_us / 1000:.1f} ms"),)
    level = broken if read.tried else limited
    finding = level(
        name,
        read.trouble or "no connection",
        costs="rows wait in the spool; the plan stays as it is"
        if read.tried
        else "nothing for the probe, whose link no policy bars; here it is not compared by",
        fix=f"soundings probe check tcp://{read.name} --explain\n# then the firewall in between",
    )
    return (finding,)


def _resolver(reading: ResolverReading) -> Finding:
    name = f"resolver {reading.server}"
    fix = '# repair /etc/resolv.conf, or set in probe.toml:\nresolvers = ["ADDRESS"]'
    if reading.rtt_us is None:
        costs = "checks of names fail at resolve, from here only"
        return broken(name, reading.trouble or "no answer", costs=costs, fix=fix)
    if reading.trouble is not None:
        costs = "checks of names fail at resolve, from here only"
        return limited(name, reading.trouble, costs=costs, fix=fix)
    took = f"answers in {reading.rtt_us / 1000:.1f} ms"
    lies = []
    if reading.invents is not None:
        lies.append(f"{reading.invents} for a name that does not exist")
    if reading.rewrites is not None:
        lies.append(f"{reading.rewrites} for a.root-servers.net, which is another's")
    if reading.hides_ipv6:
        lies.append("no AAAA where there is one")
    if lies:
        costs = (
            "dns checks say what this resolver makes of names; a name that is gone looks alive, and "
            "checks may contact a stranger"
        )
        return limited(name, f"{took}, and lies: {'; '.join(lies)}", costs=costs, fix=fix)
    return well(name, took)


def _clock(clock: ClockReading) -> Finding:
    words = "synchronised" if clock.synchronised else "not synchronised, as the kernel knows"
    if clock.synchronised is None:
        words = "the kernel would not say whether it is synchronised"
    if clock.bound_us is not None and clock.synchronised:
        words += f", off by {clock.bound_us / 1000:.1f} ms at most"
    if clock.correction_ppm is not None:
        words += f"; the oscillator is corrected by {clock.correction_ppm:+.1f} ppm"
    wild = clock.correction_ppm is not None and abs(clock.correction_ppm) > DRIFT_MAX_PPM
    vague = clock.bound_us is not None and clock.bound_us > CLOCK_BOUND_MAX_US
    if clock.synchronised and not wild and not vague:
        return well("clock", words)
    return limited(
        "clock",
        words,
        costs="rows of this vantage may fall into the wrong minute and be marked clock_suspect",
        fix="timedatectl set-ntp true\n# or start chrony; in a container, on its host",
    )


def _send_stamps(readings: Readings) -> Finding:
    if readings.send_stamps:
        return well("kernel send stamps", "a datagram over loopback was stamped as it left")
    return limited(
        "kernel send stamps",
        "the kernel stamps nothing that leaves",
        costs="nothing but with tx_stamps = true, which then has no effect",
        fix="# another kernel; gVisor and OpenVZ have no stamps",
    )


def _stamps(readings: Readings) -> Finding:
    name = "kernel receive stamps"
    if readings.stamps_warm:
        return well(name, "a packet read late kept its time of arrival")
    return limited(
        name,
        "the kernel stamps no packets, or with the time of the reading",
        costs="times rest on the process's clock and are off by milliseconds under load",
        fix="ip link set lo up\n# else another kernel; gVisor and OpenVZ have no stamps",
    )


def _error_queue(readings: Readings) -> Finding:
    name = "ICMP error queue"
    if readings.error_queue:
        return well(name, "a closed loopback port answered with ICMP")
    return limited(
        name,
        "no ICMP error came back from a closed loopback port",
        costs="a firewall's reject looks like a closed port, and no router is named",
        fix="nft list ruleset\n# and allow icmp on lo; else another kernel",
    )


def _authorities(readings: Readings) -> Finding:
    name = "TLS authorities"
    if readings.authorities is None:
        return well(name, "read from a directory as needed")
    if readings.authorities > 0:
        return well(name, f"{readings.authorities} are trusted")
    return broken(
        name,
        "no authority is trusted",
        costs="every https and tls check ends as tls_untrusted",
        fix="apt-get install ca-certificates\n# or set ca_file in probe.toml",
    )


def _receive_buffer(readings: Readings) -> Finding:
    name, size = "receive buffer", readings.receive_buffer_max_bytes
    if size is not None and size >= RECEIVE_BUFFER_MIN_BYTES:
        return well(name, f"up to {size} bytes")
    return limited(
        name,
        "the kernel would not say its limit" if size is None else f"at most {size} bytes",
        costs="a pause of this machine drops echo replies beyond a few hundred (local_overload)",
        fix=_sysctl("net.core.rmem_max", "4194304"),
    )


def _local_ports(readings: Readings) -> Finding:
    name, count = "local ports", readings.local_ports
    if count is not None and count >= LOCAL_PORTS_MIN:
        return well(name, f"{count} to connect from")
    return limited(
        name,
        "the kernel would not say its range" if count is None else f"{count} to connect from",
        costs="frequent connections to one target end as local_no_port",
        fix=_sysctl("net.ipv4.ip_local_port_range", "32768 60999"),
    )


def _privileges(readings: Readings) -> Finding:
    name = "privileges"
    if readings.uid != 0 and readings.capabilities == 0:
        return well(name, f"uid {readings.uid}, no capabilities")
    return limited(
        name,
        f"uid {readings.uid}, {readings.capabilities.bit_count()} capabilities",
        costs="nothing; but the probe needs none, and what doctor sees here its own user may not",
        fix="sudo -u soundings-probe soundings probe doctor\n"
        "# deploy/systemd/soundings-probe.service runs it as its own user",
    )


def _supervision(readings: Readings) -> Finding:
    if readings.has_systemd:
        return well("supervision", "systemd runs here")
    return limited(
        "supervision",
        "no systemd",
        costs="nothing restarts a probe that died; its slots become unreported",
        fix="# run `soundings probe run` under the supervisor that is here;\n# it stops on SIGTERM",
    )
