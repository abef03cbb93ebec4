"""DNS messages as the lab's servers need them: read one question, write one reply (RFC 1035).

Written apart from the probe's codec on purpose: a mistake in one of them shows as a disagreement
between the two, instead of hiding in a shared function.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TYPES: Final = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "TXT": 16, "AAAA": 28}
TYPE_OPT: Final = 41
CLASS_IN: Final = 1

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
REFUSED: Final = 5
YXDOMAIN: Final = 6

FLAG_REPLY: Final = 0x8000
FLAG_AUTHORITATIVE: Final = 0x0400
FLAG_TRUNCATED: Final = 0x0200
FLAG_RECURSION_DESIRED: Final = 0x0100
FLAG_RECURSION_AVAILABLE: Final = 0x0080
OPCODE_MASK: Final = 0x7800

#: What a client without EDNS takes over UDP (RFC 1035 §4.2.1).
PLAIN_UDP_BYTES: Final = 512
#: What we offer and honour with EDNS: fits every path MTU of the lab (the DNS flag day's figure).
EDNS_UDP_BYTES: Final = 1232
MAX_LABEL: Final = 63


class DnsFormatError(Exception):
    """The bytes are no question we could answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question as received; `name` is lower case, without the final dot."""

    ident: int
    name: str
    qtype: int
    recursion_desired: bool
    edns_bytes: int | None  # what the client takes over UDP, None without EDNS
    raw: bytes  # the question section, echoed verbatim: clients that mix case check it


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; `data` in text form as in a zone file."""

    name: str
    rtype: str
    ttl_s: int
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server says to a question."""

    rcode: int
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    authoritative: bool = False
    missing_bytes: int = 0  # left out at the end, as by a broken server


def read_question(message: bytes) -> Question:
    """Parse a query with exactly one question; raises `DnsFormatError`."""
    if len(message) < 12:
        raise DnsFormatError("shorter than a header")
    ident, flags, questions, _, _, additional = struct.unpack_from("!6H", message)
    if flags & FLAG_REPLY or flags & OPCODE_MASK or questions != 1:
        raise DnsFormatError("not a standard query with one question")
    try:
        name, after = _read_name(message, 12)
        qtype, _ = struct.unpack_from("!2H", message, after)
        edns = _read_edns(message, after + 4) if additional else None
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise DnsFormatError(f"cut short or garbled: {error}") from error
    recursion = bool(flags & FLAG_RECURSION_DESIRED)
    return Question(ident, name, qtype, recursion, edns, message[12 : after + 4])


def write_question(ident: int, name: str, qtype: int) -> bytes:
    """A query without recursion and with EDNS, as a resolver sends it to an authoritative server."""
    head = struct.pack("!6H", ident, 0, 1, 0, 0, 1)
    return head + _name(name) + struct.pack("!2H", qtype, CLASS_IN) + _opt()


def write_reply(
    question: Question, answer: Answer, *, recursion_available: bool, over_tcp: bool
) -> bytes:
    """Encode a reply; over UDP one that does not fit is emptied and marked truncated."""
    flags = FLAG_REPLY | answer.rcode
    flags |= FLAG_AUTHORITATIVE if answer.authoritative else 0
    flags |= FLAG_RECURSION_DESIRED if question.recursion_desired else 0
    flags |= FLAG_RECURSION_AVAILABLE if recursion_available else 0
    body = b"".join(_record(record) for record in (*answer.answers, *answer.authority))
    tail = _opt() if question.edns_bytes is not None else b""
    counts = [1, len(answer.answers), len(answer.authority), 1 if tail else 0]
    limit = min(max(question.edns_bytes or PLAIN_UDP_BYTES, PLAIN_UDP_BYTES), EDNS_UDP_BYTES)
    if not over_tcp and 12 + len(question.raw) + len(body) + len(tail) > limit:
        flags, body, counts[1], counts[2] = flags | FLAG_TRUNCATED, b"", 0, 0
    whole = struct.pack("!6H", question.ident, flags, *counts) + question.raw + body + tail
    return whole[: len(whole) - answer.missing_bytes]


def format_error(message: bytes) -> bytes | None:
    """The reply to bytes that are no question: FORMERR when at least an identifier is there."""
    if len(message) < 12 or message[2] & 0x80:
        return None
    return message[:2] + struct.pack("!5H", FLAG_REPLY | FORMERR, 0, 0, 0, 0)


def read_reply(message: bytes, question: Question) -> Answer:
    """Parse the reply to `question`; raises `DnsFormatError` when it is not one."""
    try:
        ident, flags, _, answers, authority, _ = struct.unpack_from("!6H", message)
        if ident != question.ident or not flags & FLAG_REPLY:
            raise DnsFormatError("not the reply to our question")
        _, at = _read_name(message, 12)
        sections: list[tuple[Record, ...]] = []
        at += 4
        for count in (answers, authority):
            records, at = _read_records(message, at, count)
            sections.append(records)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise DnsFormatError(f"cut short or garbled: {error}") from error
    return Answer(rcode=flags & 0xF, answers=sections[0], authority=sections[1])


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    """Read a possibly compressed name; returns it and the offset behind it."""
    labels: list[str] = []
    behind = -1
    hops = 0
    while message[at]:
        length = message[at]
        if length >= 0xC0:
            behind = at + 2 if behind < 0 else behind
            at = (length & 0x3F) << 8 | message[at + 1]
            hops += 1
            if hops > 16:
                raise DnsFormatError("compression pointers run in a circle")
            continue
        labels.append(message[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), at + 1 if behind < 0 else behind


def _read_edns(message: bytes, at: int) -> int | None:
    name, at = _read_name(message, at)
    rtype, size = struct.unpack_from("!2H", message, at)
    return size if rtype == TYPE_OPT and not name else None


def _read_records(message: bytes, at: int, count: int) -> tuple[tuple[Record, ...], int]:
    words = {number: word for word, number in TYPES.items()}
    records: list[Record] = []
    for _ in range(count):
        name, at = _read_name(message, at)
        number, _, ttl_s, length = struct.unpack_from("!HHIH", message, at)
        at += 10
        if number in words:
            text = _read_data(message, at, length, words[number])
            records.append(Record(name, words[number], ttl_s, text))
        at += length
    return tuple(records), at


def _read_data(message: bytes, at: int, length: int, rtype: str) -> str:
    if rtype in {"A", "AAAA"}:
        return str(ipaddress.ip_address(message[at : at + length]))
    if rtype in {"NS", "CNAME"}:
        return _read_name(message, at)[0]
    if rtype == "TXT":
        return message[at + 1 : at + length].decode("ascii")
    primary, at = _read_name(message, at)
    mailbox, at = _read_name(message, at)
    numbers = struct.unpack_from("!5I", message, at)
    return " ".join([primary, mailbox, *map(str, numbers)])


def _record(record: Record) -> bytes:
    data = _data(record.rtype, record.data)
    fixed = struct.pack("!HHIH", TYPES[record.rtype], CLASS_IN, record.ttl_s, len(data))
    return _name(record.name) + fixed + data


def _data(rtype: str, text: str) -> bytes:
    if rtype in {"A", "AAAA"}:
        return ipaddress.ip_address(text).packed
    if rtype in {"NS", "CNAME"}:
        return _name(text)
    if rtype == "TXT":
        return bytes([len(text)]) + text.encode("ascii")
    primary, mailbox, *numbers = text.split()
    return _name(primary) + _name(mailbox) + struct.pack("!5I", *map(int, numbers))


def _name(name: str) -> bytes:
    labels: Sequence[str] = name.split(".") if name else ()
    assert all(0 < len(label) <= MAX_LABEL for label in labels), name
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in labels) + b"\0"


def _opt() -> bytes:
    return b"\0" + struct.pack("!HHIH", TYPE_OPT, EDNS_UDP_BYTES, 0, 0)
