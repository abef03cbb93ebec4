from __future__ import annotations

import contextlib
import itertools

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.dnswire import (
    CNAMES_MAX,
    QTYPES,
    RECORDS_MAX,
    DnsFormError,
    Query,
    Reply,
    build_query,
    name_text,
    parse_name,
    read_reply,
)

HOST_LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
HOSTS = st.lists(HOST_LABELS, min_size=1, max_size=6).map(".".join)
IDENTS = st.integers(0, 65535)
QTYPE_NAMES = st.sampled_from(sorted(QTYPES))


def ask(name: str = "www.example.test", qtype: str = "A") -> Query:
    """A query with a known identifier."""
    return build_query(name, qtype, ident=4711)


def answer(query: Query, *records: str, rcode: int = 0, flags: int = 0) -> dns.message.Message:
    """A reply that another implementation makes; each record is "OWNER TTL TYPE CONTENT"."""
    message = dns.message.make_response(dns.message.from_wire(query.wire))
    message.set_rcode(rcode)
    message.flags |= flags
    for record in records:
        owner, ttl, kind, content = record.split(" ", 3)
        message.answer.append(dns.rrset.from_text(f"{owner}.", int(ttl), "IN", kind, content))
    return message


def read(query: Query, *records: str, **more: int) -> Reply:
    """What we make of that reply."""
    reply = read_reply(answer(query, *records, **more).to_wire(), query)
    assert reply is not None
    return reply


# --- Queries --------------------------------------------------------------------------------------


@given(HOSTS, QTYPE_NAMES, IDENTS, st.booleans())
def test_another_implementation_reads_our_query(
    name: str, qtype: str, ident: int, edns: bool
) -> None:
    """Name, type, identifier, recursion and EDNS arrive as meant."""
    message = dns.message.from_wire(build_query(name, qtype, ident=ident, edns=edns).wire)
    assert message.id == ident
    assert message.flags == dns.flags.RD
    assert message.question[0].name == dns.name.from_text(name)
    assert message.question[0].rdtype == QTYPES[qtype]
    assert message.edns == (0 if edns else -1)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a..b", ".a", "a" * 64, ".".join(["a" * 60] * 5), "ü" * 63, "\ud800.test"],
)
def test_what_dns_cannot_carry_is_refused(name: str) -> None:
    """Empty and overlong labels and names never reach the wire; the root alone is a name."""
    if name == ".":
        assert parse_name(name) == ()
        return
    with pytest.raises(DnsFormError):
        build_query(name, "A", ident=1)


def test_other_scripts_are_asked_for_as_idna() -> None:
    """A name in another script goes out in its ASCII form, in lower case."""
    assert parse_name("Bücher.Example") == (b"xn--bcher-kva", b"example")


def test_an_unknown_type_is_refused() -> None:
    """Only the types of a check can be asked for."""
    with pytest.raises(DnsFormError, match="'MX' is none of A, NS"):
        build_query("a.test", "MX", ident=1)


def test_odd_labels_are_escaped() -> None:
    """What a stranger puts in a name cannot end a line or fake a dot."""
    assert name_text((b"a.b", b"\n", b"-_", b"c d")) == r"a\.b.\010.-_.c\032d"
    assert name_text(()) == "."


# --- Replies --------------------------------------------------------------------------------------


@given(HOSTS, st.lists(st.ip_addresses(v=4), max_size=9, unique=True), st.integers(0, 2**31 - 1))
def test_addresses_are_read_as_sent(name: str, addresses: list[object], ttl: int) -> None:
    """All addresses of the name, sorted, with their time to live."""
    query = ask(name)
    reply = read(query, *(f"{name} {ttl} A {found}" for found in addresses))
    assert reply.values == tuple(sorted(str(found) for found in addresses))
    assert reply.ttl_s == (ttl if addresses else None)
    assert (reply.rcode, reply.truncated) == (0, False)


@given(st.lists(st.ip_addresses(v=6), min_size=1, max_size=5, unique=True))
def test_ipv6_addresses_are_canonical(addresses: list[object]) -> None:
    """An IPv6 address has one text, so that rows can be compared."""
    reply = read(ask(qtype="AAAA"), *(f"www.example.test 60 AAAA {found}" for found in addresses))
    assert reply.values == tuple(sorted(str(found) for found in addresses))


def test_the_chain_of_aliases_is_followed() -> None:
    """Addresses count along the CNAMEs from the name asked for; the least time to live holds."""
    reply = read(
        ask(),
        "www.example.test 300 CNAME edge.cdn.test.",
        "edge.cdn.test 20 CNAME pop.cdn.test.",
        "pop.cdn.test 60 A 192.0.2.1",
        "stranger.test 5 A 192.0.2.66",
    )
    assert reply.values == ("192.0.2.1",)
    assert reply.cnames == ("edge.cdn.test", "pop.cdn.test")
    assert reply.ttl_s == 20


def test_aliases_that_turn_in_a_circle_end() -> None:
    """A loop of CNAMEs gives no address and no endless work."""
    reply = read(ask(), "www.example.test 60 CNAME b.test.", "b.test 60 CNAME www.example.test.")
    assert reply.values == ()
    assert reply.cnames == ("b.test",)


def test_a_chain_without_end_is_left() -> None:
    """After as many aliases as no resolver follows, what comes is not looked at."""
    names = ["www.example.test", *(f"n{number}.test" for number in range(CNAMES_MAX + 3))]
    records = [f"{a} 60 CNAME {b}." for a, b in itertools.pairwise(names)]
    reply = read(ask(), *records, f"{names[-1]} 60 A 192.0.2.1")
    assert reply.values == ()
    assert len(reply.cnames) == CNAMES_MAX


def test_an_alias_can_be_asked_for_itself() -> None:
    """A question for CNAME is answered by the CNAME, not by where it leads."""
    reply = read(ask(qtype="CNAME"), "www.example.test 60 CNAME edge.cdn.test.")
    assert reply.values == ("edge.cdn.test",)


@pytest.mark.parametrize(
    ("qtype", "content", "text"),
    [
        ("NS", "ns1.example.test.", "ns1.example.test"),
        (
            "SOA",
            "ns1.example.test. hostmaster.example.test. 2024010101 7200 3600 1209600 300",
            "ns1.example.test hostmaster.example.test 2024010101 7200 3600 1209600 300",
        ),
        ("TXT", r'"v=spf1 -all" "a\"b"', r'"v=spf1 -all" "a\"b"'),
        ("TXT", r'"\010\255"', r'"\010\255"'),
    ],
)
def test_other_types_are_read_as_text(qtype: str, content: str, text: str) -> None:
    """Names without the last dot, strings in quotes, numbers as they are."""
    reply = read(ask("example.test", qtype), f"example.test 60 {qtype} {content}")
    assert reply.values == (text,)


@pytest.mark.parametrize("rcode", [0, 1, 2, 3, 4, 5, 9, 16, 23])
def test_rcodes_are_whole(rcode: int) -> None:
    """The upper bits of an rcode come from EDNS."""
    assert read(ask(), rcode=rcode).rcode == rcode


def test_flags_are_told_apart() -> None:
    """Authority, recursion and validation are facts of the reply."""
    reply = read(ask(), flags=dns.flags.AA | dns.flags.RA | dns.flags.AD)
    assert reply.authoritative
    assert reply.flags == "aa rd ra ad"
    assert read(ask()).authoritative is False


def test_a_cut_reply_says_so_wherever_it_was_cut() -> None:
    """A truncated reply may end inside a record: it will be asked for again over TCP."""
    query = ask()
    records = [f"www.example.test 60 A 192.0.2.{number}" for number in range(1, 9)]
    wire = answer(query, *records, flags=dns.flags.TC).to_wire()
    for end in range(34, len(wire)):
        reply = read_reply(wire[:end], query)
        assert reply is not None
        assert reply.truncated


def test_a_name_asked_in_other_letters_is_the_same_name() -> None:
    """Servers may change the case of the question they repeat."""
    query = ask("www.example.test")
    wire = answer(query, "www.example.test 60 A 192.0.2.1").to_wire()
    assert read_reply(wire.replace(b"example", b"ExAmPle"), query) is not None


def test_times_to_live_with_the_top_bit_count_as_zero() -> None:
    """RFC 2181, section 8."""
    query = ask()
    wire = answer(query, "www.example.test 60 A 192.0.2.1").to_wire()
    reply = read_reply(wire.replace(b"\x00\x00\x00\x3c", b"\x80\x00\x00\x3c"), query)
    assert reply is not None
    assert reply.ttl_s == 0


def test_records_of_other_classes_are_no_answers() -> None:
    """A record of class CH holds no address of the internet."""
    query = ask()
    message = answer(query)
    message.answer.append(dns.rrset.from_text("www.example.test.", 60, "CH", "TXT", "x"))
    reply = read_reply(message.to_wire(), query)
    assert reply is not None
    assert reply.values == ()
    assert reply.answers[0].rtype == 0


def test_records_of_unknown_types_are_passed_over() -> None:
    """A type that no check asks for is skipped, whatever it holds."""
    reply = read(ask(), "www.example.test 60 MX 10 mail.test.", "www.example.test 60 A 192.0.2.1")
    assert reply.values == ("192.0.2.1",)
    assert reply.answers[0].text == ""


def test_authority_and_additional_records_are_no_answers() -> None:
    """Glue and referrals are read past."""
    query = ask()
    message = answer(query)
    message.authority.append(dns.rrset.from_text("example.test.", 60, "IN", "NS", "ns.test."))
    message.additional.append(dns.rrset.from_text("ns.test.", 60, "IN", "A", "192.0.2.53"))
    reply = read_reply(message.to_wire(), query)
    assert reply is not None
    assert reply.answers == ()
    assert reply.ttl_s is None


# --- What is not ours, and what cannot be read ----------------------------------------------------


def test_noise_is_not_ours() -> None:
    """Another identifier, direction, kind of message or question says nothing about the server."""
    query = ask()
    wire = answer(query, "www.example.test 60 A 192.0.2.1").to_wire()
    assert read_reply(b"\x00\x00" + wire[2:], query) is None
    assert read_reply(query.wire, query) is None
    assert read_reply(wire[:2] + bytes((wire[2] | 0x28,)) + wire[3:], query) is None
    assert read_reply(wire, ask("other.example.test")) is None
    assert read_reply(wire, ask(qtype="AAAA")) is None
    assert read_reply(b"", query) is None
    assert read_reply(b"\x12", query) is None


def test_a_complaint_may_leave_out_the_question() -> None:
    """A server that could not read the question does not repeat it."""
    query = ask()
    header = query.wire[:2] + b"\x81\x81" + bytes(8)
    reply = read_reply(header, query)
    assert reply is not None
    assert reply.rcode == 1


HEAD = ask().wire[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
QUESTION = ask().wire[12:34]
OWNER = b"\xc0\x0c"
MALFORMED = {
    "header cut": HEAD[:9],
    "good answer without a question": HEAD[:4] + bytes(8),
    "two questions": HEAD[:5] + b"\x02" + HEAD[6:] + QUESTION * 2,
    "record missing": HEAD + QUESTION,
    "name cut": HEAD + QUESTION + b"\x05ab",
    "pointer cut": HEAD + QUESTION + b"\xc0",
    "pointer to itself": HEAD + QUESTION + b"\xc0\x22" + bytes(10),
    "pointer forward": HEAD + QUESTION + b"\xc0\xff" + bytes(10),
    "pointer into a circle": HEAD + QUESTION + b"\x01a\xc0\x22" + bytes(10),
    "unknown label type": HEAD + QUESTION + b"\x41" + bytes(80),
    "name without end": HEAD + QUESTION + (b"\x3f" + b"a" * 63) * 5 + b"\0" + bytes(10),
    "content cut": HEAD + QUESTION + OWNER + b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02",
    "address of three bytes": HEAD + QUESTION + OWNER + b"\0\1\0\1\0\0\0\x3c\0\3abc",
    "alias longer than its record": HEAD + QUESTION + OWNER + b"\0\5\0\1\0\0\0\x3c\0\1\1a\0",
    "soa too short": HEAD + QUESTION + OWNER + b"\0\6\0\1\0\0\0\x3c\0\2\0\0",
    "text without a string": HEAD + QUESTION + OWNER + b"\0\x10\0\1\0\0\0\x3c\0\0",
    "string longer than its record": HEAD + QUESTION + OWNER + b"\0\x10\0\1\0\0\0\x3c\0\2\5a",
    "records without number": HEAD[:6] + b"\xff\xff" + HEAD[8:] + QUESTION,
}


@pytest.mark.parametrize("wire", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_a_typed_error(wire: bytes) -> None:
    """A reply by its identifier that breaks the rules is malformed, and nothing else escapes."""
    with pytest.raises(DnsFormError):
        read_reply(wire, ask())


def test_the_number_of_records_is_bounded() -> None:
    """A reply cannot keep the probe busy."""
    with pytest.raises(DnsFormError, match=f"more than {RECORDS_MAX}"):
        read_reply(MALFORMED["records without number"], ask())


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    """Whatever follows our identifier is a reply, not ours, or malformed."""
    query = ask()
    with contextlib.suppress(DnsFormError):
        read_reply(query.wire[:2] + noise, query)


@given(st.data())
def test_no_damage_breaks_the_reader(data: st.DataObject) -> None:
    """A real reply with bytes changed and cut is read, or malformed; oracle: it never hangs."""
    query = ask()
    wire = bytearray(
        answer(
            query,
            "www.example.test 300 CNAME edge.cdn.test.",
            "edge.cdn.test 60 A 192.0.2.1",
            'edge.cdn.test 60 TXT "x"',
            "edge.cdn.test 60 SOA ns.test. root.test. 1 2 3 4 5",
        ).to_wire()
    )
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(2, len(wire) - 1), st.integers(0, 255)), max_size=8)
    ):
        wire[position] = value
    with contextlib.suppress(DnsFormError):
        read_reply(bytes(wire[: data.draw(st.integers(2, len(wire)))]), query)


@given(st.data())
def test_we_accept_no_less_than_another_implementation(data: st.DataObject) -> None:
    """Where dnspython reads addresses of the name out of a damaged reply, we read the same."""
    query = ask()
    wire = bytearray(
        answer(
            query, "www.example.test 60 A 192.0.2.1", "www.example.test 60 A 192.0.2.2"
        ).to_wire()
    )
    position = data.draw(st.integers(12, len(wire) - 1))
    wire[position] = data.draw(st.integers(0, 255))
    try:
        message = dns.message.from_wire(bytes(wire))
    except Exception:  # noqa: BLE001 - an oracle that cannot read it has nothing to say
        return
    if message.question[0].name != dns.name.from_text("www.example.test"):
        return
    if (message.question[0].rdtype, message.question[0].rdclass) != (1, 1):
        return
    found = {
        str(record)
        for rrset in message.answer
        if rrset.rdtype == 1 and rrset.rdclass == 1 and rrset.name == message.question[0].name
        for record in rrset
    }
    reply = read_reply(bytes(wire), query)
    assert reply is not None
    assert set(reply.values) == found
