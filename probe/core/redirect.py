"""Where a redirect leads: the next check, or why there is none.

A stranger wrote where to go. What no client could follow (another scheme, no host, a port that does
not exist, a name that is none) is refused here, before anything is asked, so that it is a fact about
whoever wrote it: `http_redirect`. What only this vantage cannot or may not follow is found later, on
the way, and never counts against the target (`probe.core.draft.join_hops`).

An address that the host's policy forbids is of the second kind, private ones included. Refused answer:
"nobody outside could go to 10.0.0.1, so whoever sends people there is at fault". Nobody is not known
here: whether an address is inside depends on where one stands, a name may lead inside by this vantage's
resolver alone, and over plain HTTP the commonest writer of such a redirect is no target at all but the
portal of the network that the probe sits in. We contacted nothing, so we know nothing of what is there.
The row keeps the fact (status, location, `http_redirect`) and is unfit as evidence (`probe_fault`). Who
wants it followed and judged says so in `allow_networks`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from probe.core.address import parse_address
from probe.core.httpfacts import (
    USUAL_PORTS,
    Reply,
    is_neutral,
    location_of,
    name_of,
    url_of,
    why_not_asked,
)
from proto.model import Check

# Joining a URL takes time with the square of its length: it is bounded first.
REDIRECT_CHARS_MAX: Final = 2048


def leads_on(check: Check, reply: Reply, *, hops_before: int) -> bool:
    """Is this reply a redirect that the check wants followed, be it one too many?

    A 3xx that the check expects is an answer. So is one that it does not want followed; where it
    wanted some followed, one too many is a redirect that leads nowhere.
    """
    is_answer = (
        location_of(reply) is None or reply.status in check.expect_status or is_neutral(check)
    )
    return not is_answer and (check.follow_redirects > 0 or hops_before > 0)


def way_on(check: Check, reply: Reply, *, hops_before: int) -> Check | str | None:
    """The check of the next hop, or why there must be none, or None: this reply is the answer."""
    if not leads_on(check, reply, hops_before=hops_before):
        return None
    if check.follow_redirects == 0:
        return f"redirect number {hops_before + 1} is one too many"
    try:
        return redirect_check(check, reply.header("location") or "")
    except ValueError as error:
        return str(error)


def redirect_check(check: Check, location: str) -> Check:
    """The check of the next hop: same question, another place, nothing pinned.

    Who asks under another name and is sent to that name stays with the host that was asked: the
    name was only said, never resolved. Sent elsewhere, the check goes there under that name.

    Raises:
        ValueError: `location` is no place that anybody's http check could go to; the text says why.
    """
    if len(location) > REDIRECT_CHARS_MAX:
        raise ValueError(f"redirect of {len(location)} characters, beyond {REDIRECT_CHARS_MAX}")
    parts = urlsplit(urljoin(url_of(check), _as_meant(location)))
    if parts.scheme not in USUAL_PORTS:
        raise ValueError(f"redirect to scheme {parts.scheme!r}")
    if not parts.hostname:
        raise ValueError("redirect without a host name")
    if parts.username is not None or parts.password is not None:
        raise ValueError("redirect carries credentials")
    if parts.port == 0:
        raise ValueError("redirect to port 0")
    stays = check.sni is not None and parts.hostname == name_of(check)
    hop = replace(
        check,
        host=check.host if stays else parts.hostname,
        sni=check.sni if stays else None,
        port=parts.port or USUAL_PORTS[parts.scheme],
        use_tls=parts.scheme == "https",
        path=_percent_encoded((parts.path or "/") + (f"?{parts.query}" if parts.query else "")),
        follow_redirects=check.follow_redirects - 1,
        pinned=None,
    )
    why = why_not_asked(hop) or _why_no_host(hop)
    if why is not None:
        raise ValueError(f"redirect that nobody can follow: {why}")
    return hop


def _why_no_host(hop: Check) -> str | None:
    """Why a host that has the letters of one is none all the same (a scope, an escape)."""
    if parse_address(hop.host) is None and (":" in hop.host or "%" in hop.host):
        return f"host {hop.host!r} is neither a name nor an address"
    return None


def _as_meant(location: str) -> str:
    """A header's bytes as text: UTF-8, as servers send it and browsers read it, where it is that.

    Readers of HTTP hand bytes over one character each.
    """
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location


def _percent_encoded(path: str) -> str:
    """What a browser asks for: beyond ASCII, and for spaces, the bytes by number (WHATWG URL)."""
    return re.sub(
        r"[ \x80-\U0010ffff]", lambda found: quote(found[0], errors="surrogatepass"), path
    )
