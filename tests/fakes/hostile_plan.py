"""The plan of a coordinator that wants its probes inside: a way per row, each a check.

The probe of tests/fakes/hostile.py sits at OWN. What its resolver says is in `NAMES`, and every
address of WEB answers http requests for `/to/N` with a redirect to `LOCATIONS[N]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from probe.toolbox import RUNNERS
from proto.model import Check, Kind

OWN, OWN6 = "93.184.216.1", "2606:4700:abc::1"
WORLD, WORLD6 = "93.184.216.34", "2606:4700:abc::34"
RESOLVER: Final = "93.184.216.53"
FAILS: Final = "93.184.216.90"
CROWDED: Final = "93.184.216.77"
"""Forty names lead here."""

FINE: Final = "fine: "
"""How the name of a way begins that is no trespass: it shows that the watch sees what goes out."""

ONCE: Final = "once: "
ONCE_FROM: Final = 10_000
"""How a way's name and number begin where it is asked for beside the plan."""

ONCE4: Final = ("127.9.9.1", "10.9.9.2", "0.9.9.3", "169.254.9.4", "225.9.9.5")
ONCE6: Final = ("fd12::9", "::ffff:10.9.9.6", "64:ff9b::a09:907", "2002:a09:908::1", "fe80::9")

FAILING: Final = f"{FINE}a closed port"

INSIDE4: Final = (
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1"),
    *("172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.1.1", "169.254.169.254"),
    *("169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", OWN, "93.184.216.255"),
)
INSIDE6: Final = (
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1"),
    *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1"),
    *("2001:0:4136:e378:8000:63bf:80ff:fffe", "2a00::5efe:7f00:1", "fe80::1", "fec0::1"),
    *("fc00::1", "fd12::1", "fd00:ec2::254", "ff02::1", "ff05::2", OWN6),
)
ODD: Final = (
    *("0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "127.1", "127.0.1"),
    *("127.0.0.01", "127.0.0.1.", "127.0.0.1..", "%31%32%37.0.0.1", "127%2e0.0.1", "[::1]"),
    *("１２７.0.0.1", "①27.0.0.1", "127。0。0。1", "fe80::1%p0", "::1%lo", "localhost"),
    *("127.0.0.1#@93.184.216.34", "93.184.216.34@127.0.0.1", "127.0.0.1/24", "127.0.0.1:80"),
)
"""What some resolver or library takes for an address inside."""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "world.test": (f"A {WORLD}", f"AAAA {WORLD6}"),
    "inside.test": ("A 10.0.0.1", "A 127.0.0.1"),
    "metadata.test": ("A 169.254.169.254", "AAAA fd00:ec2::254"),
    "mapped.test": ("AAAA ::ffff:127.0.0.1", "AAAA 64:ff9b::a9fe:a9fe"),
    "once.test": ("CNAME inside.test", "A 10.9.9.92"),
    "alias.test": ("CNAME inside.test", "A 192.168.1.1"),
    "myself.test": (f"A {OWN}", f"AAAA {OWN6}"),
    "localhost": ("A 127.0.0.1", "AAAA ::1"),
    **{odd.rstrip(".").lower(): ("A 127.0.0.1", "AAAA ::1") for odd in ODD},
    **{f"crowd-{number}.test": (f"A {CROWDED}",) for number in range(40)},
}
LOCATIONS: Final = (
    "http://127.0.0.1/",
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "//169.254.169.254/latest",
    f"http://{OWN}/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[fe80::1%25p0]/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://①27.0.0.1/",
    "http://127。0。0。1/",
    "http://127.0.0.1./",
    "http://%31%32%37.0.0.1/",
    "http://inside.test/",
    "http://alias.test/",
    f"http://{WORLD}@127.0.0.1/",
    f"http://me:secret@{WORLD}/secret",
    "http://127.0.0.1\\@93.184.216.34/",
    "http:\\\\127.0.0.1\\",
    "https://127.0.0.1:8443/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70/_x",
    "ftp://127.0.0.1/",
    "http://world.test:99999999/",
    "http://[/",
    f"http://{WORLD}/to/0",
    "/to/2",
)
"""The last two lead inside by two hops."""

CRLF: Final = "x\r\nX-Smuggled: yes"


@dataclass(frozen=True, slots=True)
class Way:
    """One attempt to get somewhere, and the check that makes it."""

    name: str
    kind: Kind
    host: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    stopped: bool = True  # False: it may be run, as long as nothing of it is smuggled

    def check(self, number: int) -> Check:
        """As a row of the plan; four times in three seconds."""
        given: dict[str, Any] = {"interval_s": 0.75, "timeout_s": 0.7, "packets": 1}
        if self.kind in {Kind.TCP, Kind.HTTP, Kind.TLS}:
            given["port"] = 443 if self.kind is Kind.TLS else 80
        given.update(self.fields)
        return Check(check_no=number, check_id=self.name, kind=self.kind, host=self.host, **given)


def ways() -> tuple[Way, ...]:
    """Every way, the harmless ones first."""
    return (*_fine(), *_literals(), *_named(), *_servers(), *_redirects(), *_smuggling())


def checks() -> tuple[Check, ...]:
    """The ways as a plan; one that fails is to be tried again, and to run what leads inside."""
    made = [way.check(number) for number, way in enumerate(ways(), 1)]
    inside = [one.check_no for one in made if one.kind is Kind.TCP and one.host in INSIDE4]
    return tuple(
        replace(one, on_failure=tuple(inside[:8]), confirm_after_s=(0.3, 0.6))
        if one.check_id == FAILING
        else one
        for one in made
    )


def once() -> dict[str, Check]:
    """Ways that are asked for beside the plan, to places that it does not name: no rate is used up there."""
    asked = [
        *(
            Way(f"{kind} to {one}", kind, one, {"family": family})
            for family, inside in ((4, ONCE4), (6, ONCE6))
            for kind, one in zip(sorted(RUNNERS.keys() - {Kind.DNS}), inside, strict=True)
        ),
        Way("pinned", Kind.HTTP, "world.test", {"pinned": "10.9.9.90"}),
        Way("at a server", Kind.DNS, "world.test", {"server": "10.9.9.91"}),
        Way("by an alias", Kind.HTTP, "once.test"),
        Way("by a redirect", Kind.HTTP, "93.184.216.130", {"path": "/to/0", "follow_redirects": 3}),
    ]
    return {
        f"{ONCE}{way.name}": replace(way.check(ONCE_FROM + number), interval_s=0.0)
        for number, way in enumerate(asked)
    }


def _fine() -> tuple[Way, ...]:
    return (
        Way(f"{FINE}tcp", Kind.TCP, WORLD),
        Way(f"{FINE}tcp over IPv6", Kind.TCP, WORLD6, {"family": 6}),
        Way(f"{FINE}http by name", Kind.HTTP, "world.test"),
        Way(f"{FINE}echo", Kind.ICMP, WORLD),
        Way(FAILING, Kind.TCP, FAILS, {"port": 9}),
        *(Way(f"{FINE}crowd {n}", Kind.TCP, f"crowd-{n}.test") for n in range(40)),
    )


def _literals() -> tuple[Way, ...]:
    found: list[Way] = []
    for family, inside in ((4, INSIDE4), (6, INSIDE6)):
        given = {"family": family}
        for address in inside:
            found += [Way(f"tcp to {address}", Kind.TCP, address, given)]
            found += [Way(f"echo to {address}", Kind.ICMP, address, given)]
            pinned = {**given, "pinned": address}
            found += [Way(f"http pinned to {address}", Kind.HTTP, "world.test", pinned)]
        if Kind.TRACE in RUNNERS:
            found += [Way(f"trace to {one}", Kind.TRACE, one, given) for one in inside]
            by_tcp = {**given, "port": 80, "max_hops": 4}
            found += [Way(f"trace by tcp to {one}", Kind.TRACE, one, by_tcp) for one in inside[::5]]
    found += [Way(f"tls to {one}", Kind.TLS, one) for one in INSIDE4[:4]]
    return tuple(found)


def _named() -> tuple[Way, ...]:
    named = ("inside.test", "metadata.test", "alias.test", "myself.test", *ODD)
    found = [Way(f"tcp to {host!r}", Kind.TCP, host) for host in named]
    found += [Way(f"http to {host!r}", Kind.HTTP, host) for host in named]
    found += [Way(f"tls to {host!r}", Kind.TLS, host) for host in named[:4]]
    found += [Way(f"trace to {host!r}", Kind.TRACE, host) for host in named[:4]]
    six = {"family": 6}
    found += [
        Way(f"tcp over IPv6 to {n}", Kind.TCP, n, six) for n in ("mapped.test", "myself.test")
    ]
    found += [Way(f"pinned to {odd!r}", Kind.TCP, "world.test", {"pinned": odd}) for odd in ODD]
    return tuple(found)


def _servers() -> tuple[Way, ...]:
    servers = (*INSIDE4, *INSIDE6, *ODD, "[::1]:53", "127.0.0.1:53", "10.0.0.1:5353")
    return tuple(
        Way(f"dns at {server!r}", Kind.DNS, "world.test", {"server": server}) for server in servers
    )


def _redirects() -> tuple[Way, ...]:
    # Each by an address of its own, so that none is refused for another's rate.
    return tuple(
        Way(
            f"redirect to {location!r}",
            Kind.HTTP,
            f"93.184.216.{130 + number}",
            {"path": f"/to/{number}", "follow_redirects": 3},
            # A path in the eyes of RFC 3986, and so a page of the same server.
            stopped="\\\\" not in location,
        )
        for number, location in enumerate(LOCATIONS)
    )


def _smuggling() -> tuple[Way, ...]:
    return (
        *(
            Way(f"method {method!r}", Kind.HTTP, WORLD, {"method": method})
            for method in ("POST", "DELETE", "CONNECT", "get", f"GET {CRLF}")
        ),
        *(
            Way(f"path {path!r}", Kind.HTTP, WORLD, {"path": path})
            for path in (
                f"/{CRLF}",
                "/ HTTP/1.1\r\nHost: y\r\n\r\nGET /",
                "x",
                "http://y/",
                "/\x00",
            )
        ),
        *(
            Way(f"host {host!r}", Kind.HTTP, host, {"pinned": WORLD})
            for host in (CRLF, "a b", "a\x00b", "a/../b", "a\nb")
        ),
        Way("http for a name with a line end", Kind.HTTP, "world.test", {"sni": CRLF}, False),
        Way("tls for a name with a line end", Kind.TLS, "world.test", {"sni": CRLF}, False),
    )
