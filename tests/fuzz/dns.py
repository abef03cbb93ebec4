"""Replies of hostile name servers: whatever comes back is a reply, somebody else's, or malformed."""

from __future__ import annotations

import dns.message
import dns.rrset

from probe.core.classify import DnsFacts, classify_dns
from probe.core.dnswire import (
    CNAMES_MAX,
    QTYPES,
    DnsFormError,
    Query,
    Reply,
    build_query,
    read_reply,
)
from probe.core.expect import outside
from probe.core.outcome import ANSWERS_CHARS_MAX, join_answers
from proto.model import Check, Kind

NAME = "www.example.test"
QUERIES = tuple(build_query(NAME, qtype, ident=4711) for qtype in QTYPES)
TTL_MAX = 2**31 - 1


def attempt(data: bytes) -> None:
    """Read the bytes as the reply to one of our questions, chosen by the first of them."""
    if not data:
        return
    query = QUERIES[data[0] % len(QUERIES)]
    try:
        reply = read_reply(data[1:], query)
    except DnsFormError:
        return
    if reply is not None:
        _holds(reply, query)


def _holds(reply: Reply, query: Query) -> None:
    """What every reader of a reply relies on."""
    qtype = next(name for name, number in QTYPES.items() if number == query.qtype)
    assert 0 <= reply.rcode <= 0xFFF
    assert reply.ttl_s is None or 0 <= reply.ttl_s <= TTL_MAX
    assert reply.values == () or reply.ttl_s is not None
    assert list(reply.values) == sorted(set(reply.values))
    assert len(reply.cnames) <= CNAMES_MAX
    for text in (*reply.values, *reply.cnames):
        assert text.isascii(), text
        assert text.isprintable(), text
    check = Check(check_no=1, check_id="dns", kind=Kind.DNS, host=NAME, qtype=qtype)
    strange = outside(check, reply.values, allowed=())
    classify_dns(DnsFacts(rcode=reply.rcode, usable=len(reply.values), outside=strange))
    assert len(join_answers(reply.values) or "") <= ANSWERS_CHARS_MAX


RECORDS = {
    "A": ("A 192.0.2.1", "A 8.8.8.8"),
    "NS": ("NS ns1.example.test.",),
    "CNAME": ("CNAME edge.example.test.",),
    "SOA": ("SOA ns1.example.test. admin.example.test. 1 2 3 4 5",),
    "TXT": ('TXT "v=spf1 -all" "a b"',),
    "AAAA": ("AAAA 2001:db8::1", "AAAA 2606:4700::1"),
}


def seeds() -> list[bytes]:
    """A good reply of each type, behind an alias, without data, refused, and cut."""
    found = []
    for number, (query, qtype) in enumerate(zip(QUERIES, QTYPES, strict=True)):
        alias = f"{NAME}. 30 CNAME edge.example.test."
        direct = [f"{NAME}. 60 {content}" for content in RECORDS[qtype]]
        behind = [alias, *(f"edge.example.test. 60 {content}" for content in RECORDS[qtype])]
        wires = [_wire(query, direct), _wire(query, behind), _wire(query, [])]
        wires += [_wire(query, [], rcode=rcode) for rcode in (2, 3, 5, 16)]
        wires.append(wires[0][:2] + bytes((wires[0][2] | 2,)) + wires[0][3:-3])
        found += [bytes((number,)) + wire for wire in wires]
    return found


def _wire(query: Query, records: list[str], *, rcode: int = 0) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(query.wire))
    message.use_edns(0)
    message.set_rcode(rcode)
    for record in records:
        owner, ttl, kind, content = record.split(" ", 3)
        message.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, content))
    return message.to_wire()
