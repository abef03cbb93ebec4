"""Our reading of DNS messages against another implementation's (dnspython), over made-up messages.

`make fuzz FUZZ="dns --seconds 600"` attacks the same parser for longer, guided by coverage.
"""

from __future__ import annotations

import contextlib

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from probe.core.dnswire import QTYPES, DnsFormError, Query, build_query, read_reply

# Few and related names, so that owners meet and the encoder compresses; some with odd octets.
NAMES = st.sampled_from(
    ["www.a.test", "A.test", "edge.cdn.a.test", "x.edge.cdn.a.test", r"o\010dd\.l.a.test", "b"]
)
CONTENTS = st.one_of(
    st.ip_addresses(v=4).map(lambda found: ("A", str(found))),
    st.ip_addresses(v=6).map(lambda found: ("AAAA", str(found))),
    NAMES.map(lambda name: ("NS", f"{name}.")),
    NAMES.map(lambda name: ("CNAME", f"{name}.")),
    NAMES.map(lambda name: ("SOA", f"{name}. root.{name}. 1 2 3 4 5")),
    st.just(("TXT", '"v=1 \\"quoted\\" \\255" "second"')),
    NAMES.map(lambda name: ("MX", f"10 {name}.")),
    st.just(("CAA", '0 issue "ca.test"')),
    NAMES.map(lambda name: ("SRV", f"1 2 443 {name}.")),
)
RECORDS = st.lists(st.tuples(NAMES, st.integers(0, 2**31 - 1), CONTENTS), max_size=8)
FLAGS = st.sets(st.sampled_from([dns.flags.AA, dns.flags.RA, dns.flags.AD])).map(sum)
CHAIN_MAX = 16


@st.composite
def messages(draw: st.DrawFn) -> tuple[Query, bytes]:
    """A question and a reply to it with records in all sections."""
    qtype = draw(st.sampled_from(sorted(QTYPES)))
    query = build_query("www.a.test", qtype, ident=draw(st.integers(0, 65535)))
    message = dns.message.make_response(dns.message.from_wire(query.wire))
    message.flags |= draw(FLAGS)
    message.use_edns(draw(st.sampled_from([-1, 0])))
    message.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 2, 3, 5]))))
    for section in (message.answer, message.authority, message.additional):
        for owner, ttl, (kind, content) in draw(RECORDS):
            section.append(dns.rrset.from_text(f"{owner}.", ttl, "IN", kind, content))
    return query, message.to_wire(max_size=65535)


def chain_of(
    message: dns.message.Message, query: Query
) -> tuple[list[dns.name.Name], set[str], set[int]]:
    """Names along the aliases, contents of the type asked for, and all times to live on the way."""
    names = [message.question[0].name]
    ttls: set[int] = set()
    while len(names) <= CHAIN_MAX:
        mine = [rrset for rrset in message.answer if rrset.name == names[-1]]
        found = [rrset for rrset in mine if rrset.rdtype == query.qtype]
        aliases = [rrset for rrset in mine if rrset.rdtype == dns.rdatatype.CNAME]
        if found or not aliases:
            contents = {rdata.to_digestable() for rrset in found for rdata in rrset}
            return names, contents, ttls | {rrset.ttl for rrset in found}
        target = aliases[0][0].target
        if target in names:
            return names, set(), ttls
        ttls.add(aliases[0].ttl)
        names.append(target)
    return names, set(), ttls


@given(messages())
def test_another_implementation_reads_the_same(made: tuple[Query, bytes]) -> None:
    """Code, flags, chain of aliases, number of contents, and the least time to live agree."""
    query, wire = made
    reply = read_reply(wire, query)
    assert reply is not None
    # One record at a time: what the other makes of a set with several times to live is its own.
    theirs = dns.message.from_wire(wire, one_rr_per_rrset=True)
    names, contents, ttls = chain_of(theirs, query)
    assert reply.rcode == theirs.rcode()
    assert reply.flags.split() == dns.flags.to_text(theirs.flags).lower().split()[1:]
    assert len(reply.cnames) == len(names) - 1
    assert len(reply.values) == len(contents)
    assert reply.ttl_s == min(ttls, default=None)
    assert len(reply.answers) == len(theirs.answer)
    if query.qtype in {QTYPES["A"], QTYPES["AAAA"]}:
        kind = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(query.qtype))
        again = {
            dns.rrset.from_text(".", 0, "IN", kind, v)[0].to_digestable() for v in reply.values
        }
        assert again == contents


@given(
    messages(), st.lists(st.tuples(st.integers(0), st.integers(0, 7)), max_size=6), st.integers(0)
)
def test_damage_is_malformed_or_somebody_elses(
    made: tuple[Query, bytes], flips: list[tuple[int, int]], cut: int
) -> None:
    """Bits flipped and the end cut off: a reply, none of ours, or the codec's own error."""
    query, wire = made
    damaged = bytearray(wire)
    for place, bit in flips:
        damaged[2 + place % (len(wire) - 2)] ^= 1 << bit  # the identifier stays: it must be read
    with contextlib.suppress(DnsFormError):
        read_reply(bytes(damaged[: 2 + cut % (len(wire) - 1)]), query)
