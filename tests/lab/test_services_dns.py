"""The lab's name servers, asked by an independent implementation (dnspython) over real sockets."""

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from deploy.lab import dns_server
from deploy.lab.dns_resolver import Resolver, Upstream
from deploy.lab.dns_server import Authority, Listeners, serve
from deploy.lab.dns_zone import DnsMode, Misbehaviour, make_zone, read_faults
from deploy.lab.services import HerePlace, Running, launch, listen_tcp, listen_udp, stop_all

ADDRESS = "127.64.9.1"
RESOLVER = "127.64.9.2"
NAME = "www.x.test"
LONG = "long.x.test"


class Names(NamedTuple):
    """A running authoritative server and a resolver in front of it."""

    authority: tuple[str, int]
    resolver: tuple[str, int]
    fault_file: Path


def free_port(address: str) -> int:
    """A port nobody has at this moment, for UDP and TCP."""
    with socket.socket() as asked:
        asked.bind((address, 0))
        return int(asked.getsockname()[1])


def start(run: Callable[[Listeners], None], where: tuple[str, int], log: Path) -> Running:
    """Open the sockets, start the server, keep none of the sockets here."""
    here = HerePlace()
    opened = Listeners([listen_udp(here, *where)], [listen_tcp(here, *where, backlog=8)])
    running = launch(here, lambda: run(opened), name="dns", log=log)
    for sock in (*opened.udp, *opened.tcp):
        sock.close()
    return running


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    """One authoritative server for x.test, and one resolver that knows it."""
    directory = tmp_path_factory.mktemp("dns")
    fault_file = directory / "faults"
    records = {NAME: ["198.18.0.10", "2001:db8::10"], LONG: [f"198.18.1.{n}" for n in range(120)]}
    zone = make_zone("x.test", records, ttl_s=1)
    served, asked = (ADDRESS, free_port(ADDRESS)), (RESOLVER, free_port(RESOLVER))
    authority = Authority([zone], fault_file)
    resolver = Resolver({"x.test": [Upstream(*served)]}, random.Random(1))
    both = [
        start(
            lambda opened: serve(authority, opened, recursion_available=False),
            served,
            directory / "authority.log",
        ),
        start(
            lambda opened: serve(resolver, opened, recursion_available=True),
            asked,
            directory / "resolver.log",
        ),
    ]
    yield Names(served, asked, fault_file)
    stop_all(both)


@pytest.fixture
def broken(names: Names) -> Iterator[Callable[..., None]]:
    """Makes the authoritative server misbehave until the test ends."""

    def apply(mode: DnsMode, zone: str = "", argument: str = "") -> None:
        names.fault_file.write_text(Misbehaviour(mode, zone, argument).line())

    yield apply
    names.fault_file.unlink(missing_ok=True)


def ask(where: tuple[str, int], name: str = NAME, qtype: str = "A") -> dns.message.Message:
    """One question over UDP."""
    query = dns.message.make_query(name, qtype, use_edns=0)
    return dns.query.udp(query, where[0], port=where[1], timeout=5)


def texts(message: dns.message.Message) -> list[str]:
    """The answer section's data, sorted."""
    return sorted(str(item) for rrset in message.answer for item in rrset)


def test_authority_answers_both_families(names: Names) -> None:
    """An honest authoritative server gives each family its address, with authority."""
    reply = ask(names.authority)
    assert texts(reply) == ["198.18.0.10"]
    assert reply.flags & dns.flags.AA
    assert texts(ask(names.authority, qtype="AAAA")) == ["2001:db8::10"]


def test_missing_name_and_missing_type_differ(names: Names) -> None:
    """A name that is not there is NXDOMAIN, a type that is not there is an empty answer with SOA."""
    gone = ask(names.authority, "gone.x.test")
    bare = ask(names.authority, qtype="TXT")
    assert (gone.rcode(), bare.rcode()) == (dns.rcode.NXDOMAIN, dns.rcode.NOERROR)
    assert not bare.answer
    assert str(bare.authority[0].name) == "x.test."


def test_foreign_zone_is_refused(names: Names) -> None:
    """A server asked for a zone it does not have refuses."""
    assert ask(names.authority, "www.elsewhere.test").rcode() == dns.rcode.REFUSED


def test_large_answer_is_truncated_and_whole_over_tcp(names: Names) -> None:
    """An answer larger than the datagram says TC over UDP and comes whole over TCP."""
    query = dns.message.make_query(LONG, "A", use_edns=0)
    where, port = names.authority
    short = dns.query.udp(query, where, port=port, timeout=5)
    whole = dns.query.tcp(query, where, port=port, timeout=5)
    assert short.flags & dns.flags.TC
    assert not short.answer
    assert len(texts(whole)) == 120


def test_resolver_answers_from_the_authority(names: Names) -> None:
    """A resolver passes the answer on, with recursion available and without authority."""
    reply = ask(names.resolver)
    assert texts(reply) == ["198.18.0.10"]
    assert reply.flags & dns.flags.RA
    assert not reply.flags & dns.flags.AA


@pytest.mark.parametrize(
    ("mode", "seen_at_authority"),
    [
        (DnsMode.NXDOMAIN, dns.rcode.NXDOMAIN),
        (DnsMode.SERVFAIL, dns.rcode.SERVFAIL),
        (DnsMode.REFUSED, dns.rcode.REFUSED),
        (DnsMode.YXDOMAIN, dns.rcode.YXDOMAIN),
    ],
)
def test_each_mode_says_its_code(
    names: Names, broken: Callable[..., None], mode: DnsMode, seen_at_authority: int
) -> None:
    """A broken zone answers with its own code to whoever asks the authoritative server."""
    broken(mode)
    assert ask(names.authority).rcode() == seen_at_authority


def test_silent_authority_is_servfail_at_the_resolver(
    names: Names, broken: Callable[..., None]
) -> None:
    """Silence behind a resolver reaches the client as SERVFAIL, within five seconds."""
    broken(DnsMode.DROP)
    assert ask(names.resolver, "new.x.test").rcode() == dns.rcode.SERVFAIL


def test_wrong_answer_replaces_every_address(names: Names, broken: Callable[..., None]) -> None:
    """A poisoned zone gives the wrong address with an otherwise honest reply."""
    broken(DnsMode.WRONG, "x.test", "203.0.113.66")
    assert texts(ask(names.authority)) == ["203.0.113.66"]
    assert texts(ask(names.authority, qtype="AAAA")) == ["2001:db8::10"]


def test_a_malformed_reply_cannot_be_read(names: Names, broken: Callable[..., None]) -> None:
    """A reply that breaks off belongs to its question and is no message."""
    broken(DnsMode.MALFORMED)
    with pytest.raises(dns.exception.FormError):
        ask(names.authority)


def test_fault_of_another_zone_changes_nothing(names: Names, broken: Callable[..., None]) -> None:
    """A fault names its zone and leaves the others alone."""
    broken(DnsMode.NXDOMAIN, "anchor.test")
    assert texts(ask(names.authority)) == ["198.18.0.10"]


def test_garbage_is_answered_with_format_error(names: Names) -> None:
    """Twelve bytes that are no question get FORMERR with the same identifier."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.settimeout(5)
        raw.sendto(b"\x12\x34" + b"\0" * 10, names.authority)
        reply = raw.recv(512)
    assert reply[:2] == b"\x12\x34"
    assert reply[3] & 0xF == 1


def test_fault_file_reads_what_it_wrote() -> None:
    """A line of a fault file survives the way to the disk and back."""
    faults = (Misbehaviour(DnsMode.SLOW, "x.test", "2"), Misbehaviour(DnsMode.DROP))
    assert read_faults("".join(fault.line() for fault in faults)) == faults
    assert dns_server.SLOW_S > 0
