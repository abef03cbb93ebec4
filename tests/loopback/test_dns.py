from __future__ import annotations

from dataclasses import replace

import dns.flags
import dns.message
import pytest
import trio

from probe.core.dnswire import DnsFormError, build_query
from probe.core.endpoint import Endpoint, parse_endpoint
from probe.core.outcome import Refusal
from probe.io.dns import Answer, Question, ask
from proto.model import Failure, StampSource
from tests.fakes.dns_server import (
    DnsServer,
    Replies,
    dns_server,
    framed,
    reply,
    says,
    silence,
)

NAME = "www.example.test"
RECORD = f"{NAME} 60 A 192.0.2.1"
GOOD = says(RECORD)
CUT = says(flags=dns.flags.TC)
NOBODY = Endpoint("127.0.0.1", 1)


def at(server: DnsServer) -> Endpoint:
    """The server as an endpoint."""
    return parse_endpoint(server.endpoint)


def question(*, timeout_s: float = 2.0, qtype: str = "A", name: str = NAME) -> Question:
    """A question that ends within the timeout."""
    return Question(name=name, qtype=qtype, deadline=trio.current_time() + timeout_s)


async def answered(*servers: Endpoint, timeout_s: float = 2.0) -> Answer:
    """The answer that must come."""
    found = await ask(question(timeout_s=timeout_s), servers)
    assert isinstance(found, Answer), found
    return found


async def unanswered(*servers: Endpoint, timeout_s: float = 2.0) -> Refusal:
    """The refusal that must come."""
    found = await ask(question(timeout_s=timeout_s), servers)
    assert isinstance(found, Refusal), found
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_answer_has_a_kernel_stamped_round_trip(address: str) -> None:
    """One query, one reply, timed by the kernel, over both families."""
    async with dns_server(GOOD, address=address) as server:
        found = await answered(at(server))
    assert found.reply.values == ("192.0.2.1",)
    assert (found.tries, found.stamp_source) == (1, StampSource.KERNEL)
    assert found.rtt_us > 0
    assert len(server.udp_queries) == 1


@pytest.mark.parametrize("rcode", [2, 3, 5])
async def test_an_answer_about_the_name_is_final(rcode: int) -> None:
    """A lone resolver that says no is asked once: its word is the fact."""
    async with dns_server(says(rcode=rcode)) as server:
        found = await answered(at(server))
    assert (found.reply.rcode, found.tries) == (rcode, 1)


async def test_silence_is_asked_twice_and_named() -> None:
    """Two tries, no more, within the deadline."""
    async with dns_server(silence) as server:
        found = await unanswered(at(server), timeout_s=0.3)
    assert (found.failure, found.retransmits) == (Failure.DNS_TIMEOUT, 1)
    assert len(server.udp_queries) == 2
    assert server.udp_queries[0][:2] != server.udp_queries[1][:2]


async def test_a_lost_packet_is_a_second_try_not_a_slow_server() -> None:
    """The round trip is that of the try that was answered."""

    def second(query: bytes, number: int) -> Replies:
        return [reply(query, RECORD)] if number == 2 else []

    async with dns_server(second) as server:
        found = await answered(at(server), timeout_s=1.0)
    assert found.tries == 2
    assert found.rtt_us < 300_000
    assert [attempt.failure for attempt in found.attempts] == [Failure.DNS_TIMEOUT, None]


async def test_a_late_answer_to_the_first_try_still_counts() -> None:
    """It has its own identifier, so its round trip is the long one."""
    first: list[bytes] = []

    def late(query: bytes, number: int) -> Replies:
        first.append(query)
        return [reply(first[0], RECORD)] if number == 2 else []

    async with dns_server(late) as server:
        found = await answered(at(server), timeout_s=0.5)
    assert found.tries == 2
    assert found.rtt_us >= 200_000


async def test_noise_is_passed_over() -> None:
    """Datagrams that answer something else do not end the wait."""

    def noisy(query: bytes, number: int) -> Replies:
        stranger = bytes((query[0] ^ 1, *query[1:]))
        return [b"", b"x", query, reply(stranger, RECORD), reply(query, RECORD)]

    async with dns_server(noisy) as server:
        found = await answered(at(server))
    assert found.reply.values == ("192.0.2.1",)


async def test_forged_replies_do_not_end_the_wait_and_are_counted() -> None:
    """A hundred guesses at the identifier and one at the question: the real answer still counts."""

    def forged(query: bytes, number: int) -> Replies:
        other = reply(build_query("other.test", "A", ident=0).wire, "other.test 60 A 192.0.2.66")
        guesses = [
            reply(bytes((query[0] ^ guess, query[1] ^ 1, *query[2:])), f"{NAME} 60 A 192.0.2.66")
            for guess in range(100)
        ]
        return [*guesses, query[:2] + other[2:], reply(query, RECORD)]

    async with dns_server(forged) as server:
        found = await answered(at(server))
    assert (found.reply.values, found.tries) == (("192.0.2.1",), 1)
    assert found.attempts[0].detail.startswith("101 datagrams passed over")


async def test_an_answer_from_another_address_is_not_heard() -> None:
    """The right identifier and question from the wrong sender: silence, as if it were not there."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as stranger:
        await stranger.bind(("127.0.0.9", 0))
        forge: list[tuple[bytes, tuple[str, int]]] = []

        async def answer_as_a_stranger(server: DnsServer) -> None:
            while not server.udp_queries:
                await trio.lowlevel.checkpoint()
            where = (server.clients[0], server.client_ports[0])
            forge.append((server.udp_queries[0], where))
            await stranger.sendto(reply(server.udp_queries[0], RECORD), where)

        async with dns_server(silence) as server, trio.open_nursery() as nursery:
            nursery.start_soon(answer_as_a_stranger, server)
            found = await unanswered(at(server), timeout_s=0.3)
    assert forge
    assert found.failure is Failure.DNS_TIMEOUT
    assert "passed over" not in found.attempt.detail


async def test_a_zones_own_server_is_asked_without_recursion() -> None:
    """It is to say what it knows itself, not what it can find out."""
    async with dns_server(says(RECORD, flags=dns.flags.AA)) as server:
        found = await ask(replace(question(), recursive=False), (at(server),))
    assert isinstance(found, Answer)
    assert found.flags == "aa"
    assert dns.message.from_wire(server.udp_queries[0]).flags == 0


async def test_a_reply_that_cannot_be_read_is_malformed() -> None:
    """Our identifier and nonsense after it: the server's fault, with the reason kept."""
    async with dns_server(lambda query, _: [query[:2] + b"\x81\x80" + bytes(3)]) as server:
        found = await unanswered(at(server))
    assert found.failure is Failure.DNS_MALFORMED
    assert "message ends at" in found.attempt.detail


async def test_a_closed_port_is_refused_by_its_icmp_error() -> None:
    """A connected socket learns at once that nobody listens there."""
    async with dns_server(silence) as server:
        gone = at(server)
    found = await unanswered(gone)
    assert found.failure is Failure.REFUSED
    assert found.icmp is not None
    assert (found.icmp.icmp_type, found.icmp.icmp_code, found.icmp.router) == (3, 3, "127.0.0.1")


# --- TCP ------------------------------------------------------------------------------------------


async def test_a_cut_reply_is_asked_again_over_tcp() -> None:
    """The whole reply comes over TCP, in whatever pieces; the round trip stays that of UDP."""

    def dribble(query: bytes, number: int) -> Replies:
        wire = framed(reply(query, RECORD))[0]
        return [wire[:1], wire[1:20], wire[20:]]

    async with dns_server(CUT, tcp=dribble) as server:
        found = await answered(at(server))
    assert found.reply.values == ("192.0.2.1",)
    assert (len(server.udp_queries), len(server.tcp_queries)) == (1, 1)
    assert found.attempts[0].detail == "cut over UDP, whole over TCP"
    assert found.flags == "rd tcp"


async def test_a_cut_reply_without_tcp_is_refused() -> None:
    """A server that cuts and does not listen on TCP cannot answer."""
    async with dns_server(CUT) as server:
        found = await unanswered(at(server))
    assert found.failure is Failure.REFUSED
    assert "cut over UDP, then TCP" in found.attempt.classified_by


async def test_a_server_silent_over_tcp_times_out() -> None:
    """Silence after the handshake is the resolver's silence; what the cut reply said stays known."""
    async with dns_server(CUT, tcp=silence) as server:
        found = await unanswered(at(server), timeout_s=0.4)
    assert found.failure is Failure.DNS_TIMEOUT
    assert (found.dns_rcode, found.dns_flags) == (0, "tc rd")
    assert len(server.tcp_queries) <= 2


async def test_what_follows_a_message_over_tcp_is_not_read() -> None:
    """The announced length holds: a second message behind it is nobody's answer."""

    def chatty(query: bytes, number: int) -> Replies:
        more = reply(query, f"{NAME} 60 A 192.0.2.66")
        return [b"".join((*framed(reply(query, RECORD)), *framed(more)))]

    async with dns_server(CUT, tcp=chatty) as server:
        found = await answered(at(server))
    assert found.reply.values == ("192.0.2.1",)


async def test_an_announced_length_that_does_not_come_is_malformed() -> None:
    """A whole message under a length that promises more is not believed."""

    def short(query: bytes, number: int) -> Replies:
        wire = reply(query, RECORD)
        return [(len(wire) + 1).to_bytes(2, "big") + wire]

    async with dns_server(CUT, tcp=short) as server:
        found = await unanswered(at(server))
    assert found.failure is Failure.DNS_MALFORMED
    assert "TCP was closed" in found.attempt.detail


@pytest.mark.parametrize("chunk", [b"\x01", b"\x00\x50abc", b"\x00\x02ab"])
async def test_a_server_that_hangs_up_over_tcp_is_malformed(chunk: bytes) -> None:
    """Half a message, or one for another question, is no answer."""
    async with dns_server(CUT, tcp=lambda *_: [chunk]) as server:
        found = await unanswered(at(server))
    assert found.failure is Failure.DNS_MALFORMED


# --- Second chances -------------------------------------------------------------------------------


async def test_a_server_without_edns_is_asked_plainly() -> None:
    """FORMERR to a query with EDNS gets a query without."""

    def old(query: bytes, number: int) -> Replies:
        knows = dns.message.from_wire(query).edns < 0
        return [reply(query, RECORD) if knows else query[:2] + b"\x81\x81" + bytes(8)]

    async with dns_server(old) as server:
        found = await answered(at(server))
    assert (found.reply.values, found.tries) == (("192.0.2.1",), 2)


async def test_a_server_without_edns_costs_no_try() -> None:
    """The same server is asked plainly, though another stands by and a packet was lost before."""

    def old(query: bytes, number: int) -> Replies:
        knows = dns.message.from_wire(query).edns < 0
        return [reply(query, RECORD) if knows else reply(query, rcode=1)]

    async with dns_server(silence) as first, dns_server(old) as second, dns_server(GOOD) as third:
        found = await answered(at(first), at(second), at(third), timeout_s=0.5)
    assert (found.server, found.tries) == (at(second), 3)
    assert third.udp_queries == []


async def test_a_server_that_reads_no_query_at_all_is_malformed_after_the_plain_one() -> None:
    """FORMERR without EDNS is final: it is not asked a third time."""
    async with dns_server(says(rcode=1)) as server:
        found = await answered(at(server))
    assert (found.reply.rcode, found.tries, len(server.udp_queries)) == (1, 2, 2)


@pytest.mark.parametrize("rcode", [2, 5])
async def test_a_second_resolver_may_know_better(rcode: int) -> None:
    """SERVFAIL and REFUSED are about the resolver: the next one is asked."""
    async with dns_server(says(rcode=rcode)) as first, dns_server(GOOD) as second:
        found = await answered(at(first), at(second))
    assert (found.reply.rcode, found.tries, found.server) == (0, 2, at(second))


async def test_a_dead_resolver_gives_way_to_the_next() -> None:
    """A closed port costs a round trip, not the slot."""
    async with dns_server(GOOD) as second:
        found = await answered(NOBODY, at(second))
    assert (found.server, found.tries) == (at(second), 2)


async def test_no_such_name_is_not_asked_elsewhere() -> None:
    """NXDOMAIN is about the name: another resolver is not asked until it says otherwise."""
    async with dns_server(says(rcode=3)) as first, dns_server(GOOD) as second:
        found = await answered(at(first), at(second))
    assert found.reply.rcode == 3
    assert second.udp_queries == []


async def test_a_reply_says_more_than_silence() -> None:
    """After SERVFAIL here and silence there, SERVFAIL is what is known."""
    async with dns_server(says(rcode=2)) as first, dns_server(silence) as second:
        found = await answered(at(first), at(second), timeout_s=0.4)
    assert (found.reply.rcode, found.tries, found.server) == (2, 2, at(first))


async def test_an_error_says_more_than_silence() -> None:
    """After a closed port here and silence there, the closed port is what is known."""
    async with dns_server(silence) as second:
        found = await unanswered(NOBODY, at(second), timeout_s=0.4)
    assert found.failure is Failure.REFUSED
    assert [attempt.failure for attempt in found.earlier] == [Failure.DNS_TIMEOUT]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_source_address_binds_towards_its_own_family(address: str) -> None:
    """An IPv4 source is used over UDP and TCP to an IPv4 server, and left aside for another."""
    async with dns_server(
        CUT, tcp=lambda query, _: framed(reply(query, RECORD)), address=address
    ) as server:
        asked = replace(question(), source="127.0.0.5")
        found = await ask(asked, (at(server),))
    assert isinstance(found, Answer)
    expected = "127.0.0.5" if address == "127.0.0.1" else "::1"
    assert server.clients == [expected, expected]


async def test_a_name_that_dns_cannot_carry_is_not_sent() -> None:
    """The error comes before anything leaves."""
    async with dns_server(GOOD) as server:
        with pytest.raises(DnsFormError):
            await ask(question(name="a..b"), (at(server),))
    assert server.udp_queries == []


async def test_a_passed_deadline_still_reads_what_is_there() -> None:
    """The query leaves, and what the kernel holds by then counts; else it is silence, at once."""
    async with dns_server(silence) as server:
        found = await unanswered(at(server), timeout_s=-1.0)
    assert found.failure is Failure.DNS_TIMEOUT
