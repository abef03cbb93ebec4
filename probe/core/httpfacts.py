"""What a reply means for a check: good or which word. Where a redirect leads: `probe.core.redirect`.

Values in, values out. A slow reply is a good reply with times; a status that the plan expects is
good whatever its number; our own body cap is never a failure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from probe.core.classify import Classified, Row
from probe.core.draft import Fault, fault_of
from probe.core.outcome import HTTP_PORT, HTTPS_PORT, port_of
from probe.core.pattern import missing_piece
from proto.model import Check, Control, Failure, Operation

# What a probe may ask: nothing that changes anything at the other end.
METHODS: Final = ("GET", "HEAD")
# The headers come from strangers: what is kept of them is short and printable.
LOCATION_CHARS_MAX = 512
# Encoding a name takes time with the square of its length: it is bounded first.
NAME_CHARS_MAX = 253
# A name is encoded three times in each slot, at 5 us each.
NAMES_REMEMBERED = 1024
# How much of a body a detail quotes: the beginning of a page tells people which page it is.
QUOTED_CHARS_MAX = 60
CODING_CHARS_MAX = 20
# Long enough for a name, a version and where to complain.
USER_AGENT_CHARS_MAX = 200
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_HOST = re.compile(r"[a-z0-9_:%.-]{1,253}")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
USUAL_PORTS = {"http": HTTP_PORT, "https": HTTPS_PORT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked: `authority` is the Host field, `target` the path with its query."""

    method: str
    authority: str
    target: str
    user_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What was answered so far. `status` None: not even the head arrived whole."""

    status: int | None = None
    version: str | None = None  # "1.0", "1.1", "2"
    headers: tuple[tuple[str, str], ...] = ()  # names in lower case, in the order of arrival
    body: bytes = b""  # at most the cap
    complete: bool = False  # the framing says that the body is over
    capped: bool = False  # we stopped reading at our own cap, which is no fault of anybody
    cut_by: str = ""  # HTTP/2: the frame that ended the reply early, with its error by name

    def header(self, name: str) -> str | None:
        """The first value of that name (lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def first_values(self) -> dict[str, str]:
        """The first value of each name (lower case), for who asks for many."""
        return dict(reversed(self.headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFacts:
    """What is known of one exchange that came to an end. Of `malformed` and `fault` one at most."""

    check: Check
    reply: Reply
    malformed: str | None = None  # why this is not HTTP
    fault: Fault | None = None  # what ended the connection before the reply was over
    has_begun: bool = True  # a byte of the reply came
    is_hop: bool = False  # a redirect that the check wants followed, so its status is no answer
    no_way_on: str | None = None  # why such a redirect leads nowhere


def is_neutral(check: Check) -> bool:
    """Whether the check asks an address under a name that is not its own (control C8).

    Whatever is answered then is the answer: that something was, under this name, is the fact.
    """
    return check.control is Control.NEUTRAL_SNI


def is_status_unexpected(facts: HttpFacts) -> bool:
    """Did a status arrive, and is it another one than the check expects?"""
    status = facts.reply.status
    return (
        status is not None
        and not is_neutral(facts.check)
        and (status not in facts.check.expect_status)
    )


def _is_body_cut(facts: HttpFacts) -> bool:
    return not (facts.reply.complete or facts.reply.capped)


def _is_text_missing(facts: HttpFacts) -> bool:
    pattern = facts.check.expect_body
    if pattern is None or is_neutral(facts.check):
        return False
    return missing_piece(pattern, facts.reply.body) is not None


def _is_another_body(facts: HttpFacts) -> bool:
    digits = facts.check.expect_sha256
    if digits is None or is_neutral(facts.check):
        return False
    return not body_sha256(facts.reply).startswith(digits)


# --- Which word wins ------------------------------------------------------------------------------


class Head(Enum):
    """What is known of the head when an exchange ends."""

    NONE = "no status came"
    EXPECTED = "a status that the check expects"
    UNEXPECTED = "a status that the check does not expect"
    HOP = "a redirect that the check wants followed"


class Break(Enum):
    """How a reply breaks off, in whichever version of HTTP."""

    MALFORMED = "what came is not HTTP"
    CONNECTION = "the connection failed: reset, timeout, alert"


_STATUS: Final[Row[HttpFacts]] = Row(
    is_status_unexpected, Failure.HTTP_STATUS, "a status that the check does not expect"
)
_MALFORMED: Final[Row[HttpFacts]] = Row(
    lambda facts: facts.malformed is not None,
    Failure.HTTP_MALFORMED,
    "what came back is not the HTTP that was asked for",
)

# A 503 whose text breaks off is still a 503, and that says more about the platform than how it broke
# off. A status that is expected, or is no answer, leaves the break as the news. None: the word that
# the connection has of its own.
BREAKS: Final[Mapping[tuple[Head, Break], Row[HttpFacts] | None]] = {
    (Head.NONE, Break.MALFORMED): _MALFORMED,
    (Head.EXPECTED, Break.MALFORMED): _MALFORMED,
    (Head.UNEXPECTED, Break.MALFORMED): _STATUS,
    (Head.HOP, Break.MALFORMED): _MALFORMED,
    (Head.NONE, Break.CONNECTION): None,
    (Head.EXPECTED, Break.CONNECTION): None,
    (Head.UNEXPECTED, Break.CONNECTION): _STATUS,
    (Head.HOP, Break.CONNECTION): None,
}

# Of a reply that ended by itself, the first row that applies; a status stands before a cut body.
HTTP: Final[tuple[Row[HttpFacts], ...]] = (
    Row(
        lambda facts: facts.no_way_on is not None,
        Failure.HTTP_REDIRECT,
        "the redirect leads where this check must not go",
    ),
    Row(
        lambda facts: facts.reply.status is None,
        Failure.HTTP_TRUNCATED,
        "closed before the reply's head was complete",
    ),
    _STATUS,
    Row(_is_body_cut, Failure.HTTP_TRUNCATED, "closed before the announced end of the body"),
    Row(_is_text_missing, Failure.HTTP_CONTENT, "the expected text is not in the body"),
    Row(_is_another_body, Failure.HTTP_CONTENT, "the body has another hash than the expected one"),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """The step that failed, and why."""

    operation: Operation
    fault: Fault


def judge_http(facts: HttpFacts) -> Judged | None:
    """The word for an exchange and the step that it names; None: the check got what it expects."""
    row = _deciding_row(facts)
    if row is not None:
        found = Classified(row.failure, f"{row.sentence} -> {row.failure.value}")
        return Judged(Operation.REPLY, fault_of(found, describe_reply(facts)))
    if facts.fault is not None:
        # An alert instead of a first byte is the peer's late no to the handshake (TLS 1.3).
        is_late_no = facts.fault.failure is Failure.TLS_ALERT and not facts.has_begun
        return Judged(Operation.TLS if is_late_no else Operation.REPLY, facts.fault)
    return None


def _deciding_row(facts: HttpFacts) -> Row[HttpFacts] | None:
    if facts.malformed is not None:
        return BREAKS[_head_of(facts), Break.MALFORMED]
    if facts.fault is not None:
        return BREAKS[_head_of(facts), Break.CONNECTION]
    return next((row for row in HTTP if row.applies(facts)), None)


def _head_of(facts: HttpFacts) -> Head:
    if facts.reply.status is None:
        return Head.NONE
    if facts.is_hop:
        return Head.HOP
    return Head.UNEXPECTED if is_status_unexpected(facts) else Head.EXPECTED


# --- In words -------------------------------------------------------------------------------------


def describe_reply(facts: HttpFacts) -> str:
    """The reply in one line for people, with what was expected instead where that differs."""
    reply = facts.reply
    head = "no reply" if reply.status is None else f"{reply.status}, {len(reply.body)} bytes kept"
    location = location_of(reply)
    words = (
        head,
        "body capped" if reply.capped else "",
        f"to {location}" if location else "",
        reply.cut_by,
        facts.malformed or "",
        f"then {facts.fault.failure.value}" if facts.fault else "",
        facts.no_way_on or _expectation(facts),
    )
    return ", ".join(word for word in words if word)


def _expectation(facts: HttpFacts) -> str:
    """What the check expected of a reply that came, where it found something else."""
    check, reply = facts.check, facts.reply
    if _head_of(facts) is Head.UNEXPECTED:
        return f"expected status {' or '.join(map(str, check.expect_status)) or 'none'}"
    if reply.status is None or _is_body_cut(facts):
        return ""
    if _is_text_missing(facts):
        piece = missing_piece(check.expect_body or "", reply.body)
        whole = "" if piece == check.expect_body else f" of {_quoted(check.expect_body or '')}"
        return f"expected {_quoted(piece or '')}{whole}, found {_quoted_body(reply.body)}{_coded(reply)}"
    if _is_another_body(facts):
        return f"expected sha256 {check.expect_sha256}, found {body_sha256(reply)}{_coded(reply)}"
    return ""


def _coded(reply: Reply) -> str:
    """Every request asks for no coding. A body that has one all the same is looked at as it came.

    Decoding would let a server turn a kilobyte into a gigabyte in our memory.
    """
    coding = reply.header("content-encoding")
    if coding is None or coding.lower() == "identity":
        return ""
    return f" in content-encoding {printable(coding, CODING_CHARS_MAX)}, which was not asked for"


def _quoted(text: str) -> str:
    cut = "…" if len(text) > QUOTED_CHARS_MAX else ""
    return repr(text[:QUOTED_CHARS_MAX]) + cut


def _quoted_body(body: bytes) -> str:
    """The beginning of a body; `repr` leaves nothing in it that would drive a terminal."""
    return _quoted(body[: 4 * QUOTED_CHARS_MAX].decode("utf-8", "replace")) if body else "no body"


def body_sha256(reply: Reply) -> str:
    """Hex digest of the kept body: equal bodies compare equal without being stored."""
    return hashlib.sha256(reply.body).hexdigest()


def location_of(reply: Reply) -> str | None:
    """Where a 3xx points, as sent, shortened and printable."""
    location = reply.header("location") if reply.status in REDIRECTS else None
    if location is None:
        return None
    return printable(location, LOCATION_CHARS_MAX)


# --- What is asked ---------------------------------------------------------------------------


def why_not_asked(check: Check) -> str | None:
    """Why this check must not be sent as it stands; None when it may.

    A plan comes from another machine: what would smuggle a second request or address nobody is
    refused here, before anything is contacted.
    """
    if check.method not in METHODS:
        return f"method {check.method!r} is not one of {', '.join(METHODS)}"
    if not _TARGET.fullmatch(check.path):
        return f"path {check.path!r} is not a / followed by printable ASCII without spaces"
    for field, name in (("host", check.host), ("sni", check.sni)):
        try:
            ascii_name(name if name is not None else check.host)
        except ValueError as error:
            return f"{field} {name!r} is no name: {error}"
    return None


@lru_cache(16)
def user_agent_of(text: str) -> str:
    """The User-Agent as it may be sent, whatever the plan says."""
    return _NOT_SHOWN.sub("?", text).strip()[:USER_AGENT_CHARS_MAX] or "soundings-probe"


@lru_cache(NAMES_REMEMBERED)
def ascii_name(host: str) -> str:
    """The host as it goes into SNI and the Host field: ASCII (RFC 5890), without a final dot.

    Raises:
        ValueError: it is no name; the text says why.
    """
    if len(host.rstrip(".")) > NAME_CHARS_MAX:
        raise ValueError(f"it is longer than {NAME_CHARS_MAX} characters")
    name = host.encode("idna").decode("ascii").rstrip(".").lower()
    if not _HOST.fullmatch(name):
        raise ValueError("it has characters that no name or address has")
    return name


def name_of(check: Check) -> str:
    """The name that a check says, in SNI and in the Host field: its host's unless told otherwise."""
    return ascii_name(check.host if check.sni is None else check.sni)


def scheme_of(check: Check) -> str:
    """`http` or `https`."""
    return "https" if check.use_tls else "http"


def authority_of(check: Check) -> str:
    """The Host field (RFC 9110 7.2): literals of IPv6 in brackets, the usual port left out."""
    name = name_of(check)
    host = f"[{name}]" if ":" in name else name
    port = port_of(check)
    return host if port == USUAL_PORTS[scheme_of(check)] else f"{host}:{port}"


def url_of(check: Check) -> str:
    """The URL that an http check asks for."""
    return f"{scheme_of(check)}://{authority_of(check)}{check.path}"


def printable(text: str, chars_max: int) -> str:
    """A stranger's text as a row keeps it: short, ASCII, without spaces."""
    return re.sub(r"[^\x21-\x7e]", "?", text)[:chars_max]
