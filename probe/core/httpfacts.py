"""What a reply means for a check: good or which word, which edge answered, where a redirect leads.

Values in, values out. A slow reply is a good reply with times; a status that the plan expects is
good whatever its number; our own body cap is never a failure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urljoin, urlsplit

from probe.core.classify import Classified, Row
from probe.core.outcome import HTTP_PORT, HTTPS_PORT, port_of
from proto.model import Check, Failure

# What a probe may ask: nothing that changes anything at the other end.
METHODS: Final = ("GET", "HEAD")
# The headers come from strangers: what is kept of them is short and printable.
EDGE_CHARS_MAX = 64
LOCATION_CHARS_MAX = 512
# Long enough for a name, a version and where to complain.
USER_AGENT_CHARS_MAX = 200
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_HOST = re.compile(r"[a-z0-9_:%.-]{1,253}")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": HTTP_PORT, "https": HTTPS_PORT}


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
    version: str | None = None  # "1.0", "1.1"
    headers: tuple[tuple[str, str], ...] = ()  # names in lower case, in the order of arrival
    body: bytes = b""  # at most the cap
    complete: bool = False  # the framing says that the body is over
    capped: bool = False  # we stopped reading at our own cap, which is no fault of anybody

    def header(self, name: str) -> str | None:
        """The first value of that name (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFacts:
    """What is known of one exchange that came to an end by itself."""

    check: Check
    reply: Reply
    malformed: str | None = None  # why this is not HTTP
    no_way_on: str | None = None  # why a redirect that should be followed was not


def is_status_unexpected(facts: HttpFacts) -> bool:
    """Did a status arrive, and is it another one than the check expects?"""
    return facts.reply.status is not None and facts.reply.status not in facts.check.expect_status


def _is_body_cut(facts: HttpFacts) -> bool:
    return not (facts.reply.complete or facts.reply.capped)


def _is_text_missing(facts: HttpFacts) -> bool:
    text = facts.check.expect_body
    return text is not None and text.encode() not in facts.reply.body


# A status that is not expected stands before a body that was cut: a 503 whose text breaks off is
# still a 503, and that says more about the platform than the missing bytes do.
HTTP: Final[tuple[Row[HttpFacts], ...]] = (
    Row(
        lambda facts: facts.malformed is not None,
        Failure.HTTP_MALFORMED,
        "what came back is not HTTP/1.x",
    ),
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
    Row(is_status_unexpected, Failure.HTTP_STATUS, "a status that the check does not expect"),
    Row(_is_body_cut, Failure.HTTP_TRUNCATED, "closed before the announced end of the body"),
    Row(_is_text_missing, Failure.HTTP_CONTENT, "the expected text is not in the body"),
)


def classify_http(facts: HttpFacts) -> Classified | None:
    """The word for an exchange; None when the reply is what the check expects."""
    row = next((row for row in HTTP if row.applies(facts)), None)
    if row is None:
        return None
    return Classified(row.failure, f"{row.sentence} -> {row.failure.value}")


def describe_reply(facts: HttpFacts) -> str:
    """The reply in one line for people."""
    reply = facts.reply
    said = facts.malformed or facts.no_way_on
    head = "no reply" if reply.status is None else f"{reply.status}, {len(reply.body)} bytes kept"
    location = location_of(reply)
    words = (
        head,
        "body capped" if reply.capped else "",
        f"to {location}" if location else "",
        said,
    )
    return ", ".join(word for word in words if word)


def body_sha256(reply: Reply) -> str:
    """Hex digest of the kept body: equal bodies compare equal without being stored."""
    return hashlib.sha256(reply.body).hexdigest()


def location_of(reply: Reply) -> str | None:
    """Where a 3xx points, as sent, shortened and printable."""
    location = reply.header("location")
    if location is None or reply.status not in _REDIRECTS:
        return None
    return _printable(location, LOCATION_CHARS_MAX)


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
    try:
        ascii_name(check.host)
    except ValueError as error:
        return f"host {check.host!r} is no name: {error}"
    return None


def user_agent_of(text: str) -> str:
    """The User-Agent as it may be sent, whatever the plan says."""
    return _NOT_SHOWN.sub("?", text).strip()[:USER_AGENT_CHARS_MAX] or "soundings-probe"


def ascii_name(host: str) -> str:
    """The host as it goes into SNI and the Host field: ASCII (RFC 5890), without a final dot.

    Raises:
        ValueError: it is no name; the text says why.
    """
    name = host.encode("idna").decode("ascii").rstrip(".").lower()
    if not _HOST.fullmatch(name):
        raise ValueError("it has characters that no name or address has")
    return name


# --- Redirects -----------------------------------------------------------------------------------


def way_on(check: Check, reply: Reply, *, hops_before: int) -> Check | str | None:
    """The check of the next hop, or why there must be none, or None: this reply is the answer.

    A 3xx that the check expects is an answer. So is one that it does not want followed; where it
    wanted some followed, one too many is a redirect that leads nowhere.
    """
    location = location_of(reply)
    is_answer = location is None or reply.status in check.expect_status
    if is_answer or (check.follow_redirects == 0 and hops_before == 0):
        return None
    if check.follow_redirects == 0:
        return f"redirect number {hops_before + 1} is one too many"
    try:
        return redirect_check(check, reply.header("location") or "")
    except ValueError as error:
        return str(error)


def redirect_check(check: Check, location: str) -> Check:
    """The check of the next hop: same question, another place, nothing pinned.

    Raises:
        ValueError: `location` is no place an http check can go to; the text says why.
    """
    parts = urlsplit(urljoin(url_of(check), location))
    if parts.scheme not in _PORTS:
        raise ValueError(f"redirect to scheme {parts.scheme!r}")
    if not parts.hostname:
        raise ValueError("redirect without a host name")
    if parts.username is not None or parts.password is not None:
        raise ValueError("redirect carries credentials")
    return replace(
        check,
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        use_tls=parts.scheme == "https",
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        follow_redirects=check.follow_redirects - 1,
        pinned=None,
    )


def scheme_of(check: Check) -> str:
    """`http` or `https`."""
    return "https" if check.use_tls else "http"


def authority_of(check: Check) -> str:
    """The Host field (RFC 9110 7.2): literals of IPv6 in brackets, the usual port left out."""
    name = ascii_name(check.host)
    host = f"[{name}]" if ":" in name else name
    port = port_of(check)
    return host if port == _PORTS[scheme_of(check)] else f"{host}:{port}"


def url_of(check: Check) -> str:
    """The URL that an http check asks for."""
    return f"{scheme_of(check)}://{authority_of(check)}{check.path}"


# --- Edges ---------------------------------------------------------------------------------------
# Which point of presence answered tells a fault of one edge from a fault of the platform. Every
# delivery network says it in its own header; the first row that yields something wins, so the rows
# that name a place stand before `via`, which often names only software.


def _last_item(value: str) -> str:
    """Of a list header the last entry: the hop nearest to us writes last."""
    return value.rsplit(",", 1)[-1].strip()


def _after_dash(value: str) -> str | None:
    """`8f1a2b3c4d5e6f70-FRA` -> `FRA`."""
    return value.rsplit("-", 1)[1] if "-" in value else None


def _fastly(value: str) -> str | None:
    """`cache-iad-kiad7000071-IAD, cache-fra-eddf8230100-FRA` -> `FRA`."""
    last = _last_item(value)
    return _after_dash(last) if last.startswith("cache-") else None


def _before_colons(value: str) -> str:
    """`fra1::iad1::abc` -> `fra1`."""
    return value.split("::", 1)[0]


def _bunny(value: str) -> str | None:
    """`BunnyCDN-DE1-1047` -> `DE1-1047`."""
    return value.removeprefix("BunnyCDN-") if value.startswith("BunnyCDN-") else None


def _via(value: str) -> str | None:
    """`1.1 varnish, 1.1 edge-7.example (Cache)` -> `edge-7.example` (RFC 9110 7.6.3)."""
    words = _last_item(value).split()
    return words[1] if len(words) > 1 else None


EDGE_HEADERS: Final[tuple[tuple[str, str, Callable[[str], str | None]], ...]] = (
    ("cf-ray", "cloudflare", _after_dash),
    ("x-amz-cf-pop", "cloudfront", str.strip),
    ("x-served-by", "fastly", _fastly),
    ("x-vercel-id", "vercel", _before_colons),
    ("fly-request-id", "fly", _after_dash),
    ("x-77-pop", "cdn77", str.strip),
    ("x-edge-location", "keycdn", str.strip),
    ("x-served-by", "server", _last_item),
    ("server", "bunny", _bunny),
    ("via", "via", _via),
)


def edge_of(reply: Reply) -> str | None:
    """The edge that answered as `network:place`, or None when no header says it."""
    for name, network, place_in in EDGE_HEADERS:
        value = reply.header(name)
        place = place_in(value) if value is not None else None
        if place:
            return _printable(f"{network}:{place}", EDGE_CHARS_MAX)
    return None


def _printable(text: str, chars_max: int) -> str:
    return re.sub(r"[^\x21-\x7e]", "?", text)[:chars_max]
