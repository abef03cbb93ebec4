"""From what a person types to a check: `https://x.test/live`, `tcp://x.test:443`, `x.test`.

The scheme says the kind; `--kind` overrides it, so that one URL can be tried on every layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from probe.core.address import parse_address
from probe.core.expect import why_impossible
from probe.core.httpfacts import why_not_asked
from proto.model import Check, Control, Kind

_KINDS: Final = {
    "http": Kind.HTTP,
    "https": Kind.HTTP,
    "tcp": Kind.TCP,
    "tls": Kind.TLS,
    "icmp": Kind.ICMP,
    "dns": Kind.DNS,
    "trace": Kind.TRACE,
}
_USUAL_PORTS: Final = {"http": 80, "https": 443, "tls": 443}
_FORMS: Final = (
    "https://NAME/PATH, http://NAME/PATH, tcp://NAME:PORT, tls://NAME:PORT, icmp://NAME, "
    "trace://NAME or trace://NAME:PORT, dns://NAME?type=A&server=ADDRESS, or a bare NAME for icmp"
)
_DNS_PARAMETERS: Final = frozenset({"type", "server"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line; None where it says nothing."""

    target: str
    kind: Kind | None = None
    family: int | None = None
    port: int | None = None
    timeout_s: float = 5.0
    packets: int = 3
    max_hops: int = 30
    method: str = "GET"
    expect_status: tuple[int, ...] = (200,)
    expect_body: str | None = None
    expect_answers: tuple[str, ...] = ()
    follow_redirects: int = 0
    pinned: str | None = None
    http2: bool = False  # offer HTTP/2 before HTTP/1.1
    sni: str | None = None  # say this name, and verify against it
    neutral_sni: str | None = None  # say this name, and judge no certificate
    expect_sha256: str | None = None
    body_cap_bytes: int | None = None
    qtype: str | None = None
    server: str | None = None
    authoritative: bool = False


def check_of(asked: Asked) -> Check:
    """The check that the command line means.

    Raises:
        ValueError: it means none; the text says what is wrong and how to write it.
    """
    parts = _split(asked.target)
    if not parts.hostname:
        raise ValueError(f"{asked.target!r} names no host; write {_FORMS}")
    check = Check(
        check_no=0,
        check_id=asked.target,
        kind=asked.kind or _KINDS[parts.scheme],
        host=parts.hostname,
        port=asked.port or parts.port or _USUAL_PORTS.get(parts.scheme),
        family=asked.family or _family_of(asked.pinned or parts.hostname),
        timeout_s=asked.timeout_s,
        packets=asked.packets,
        max_hops=asked.max_hops,
        use_tls=parts.scheme == "https",
        method=asked.method,
        expect_status=asked.expect_status,
        expect_body=asked.expect_body,
        expect_answers=asked.expect_answers,
        follow_redirects=asked.follow_redirects,
        pinned=asked.pinned,
    )
    asked_for = _dns_asked(_of_kind(asked, check, parts), asked)
    return _refuse_impossible(_web_asked(asked_for, asked))


def _split(target: str) -> SplitResult:
    literal = parse_address(target)
    bare = f"[{target}]" if literal is not None and literal.version == 6 else target
    parts = urlsplit(target if "://" in target else f"icmp://{bare}")
    if parts.scheme not in _KINDS:
        raise ValueError(f"{target!r} has the unknown scheme {parts.scheme!r}; write {_FORMS}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{target!r} carries credentials; checks never send any")
    if parts.port is not None and parts.scheme == "icmp":
        raise ValueError(f"{target!r} has a port, which icmp has not; write tcp://{parts.netloc}")
    return parts


def _family_of(host: str) -> int:
    literal = parse_address(host)
    return 4 if literal is None else literal.version


def _of_kind(asked: Asked, check: Check, parts: SplitResult) -> Check:
    """The parts of the URL that only some kinds have."""
    if check.kind is Kind.HTTP:
        query = f"?{parts.query}" if parts.query else ""
        return replace(check, path=(parts.path or "/") + query)
    if check.kind is Kind.ICMP:
        # The port of a URL that is pinged is nobody's mistake.
        if asked.port is not None:
            raise ValueError(
                f"--port is {asked.port}, and icmp has no ports; add --kind tcp or trace"
            )
        return replace(check, port=None, use_tls=False)
    if check.kind is Kind.DNS:
        return _dns_check(check, parts)
    return replace(check, use_tls=False)


def _web_asked(check: Check, asked: Asked) -> Check:
    """What the options say of an http or tls check."""
    if asked.sni is not None and asked.neutral_sni is not None:
        raise ValueError("--sni and --neutral-sni name the same thing; give one of them")
    said = {
        "--http2": asked.http2,
        "--sni": asked.sni is not None,
        "--neutral-sni": asked.neutral_sni is not None,
        "--expect-sha256": asked.expect_sha256 is not None,
        "--body-cap-bytes": asked.body_cap_bytes is not None,
    }
    given = [option for option, is_given in said.items() if is_given]
    if not given:
        return check
    names_only = {"--http2", "--sni", "--neutral-sni"}
    if not (check.kind is Kind.HTTP or (check.kind is Kind.TLS and names_only >= set(given))):
        raise ValueError(f"{given[-1]} is for https; write https://{check.host}/")
    if asked.http2 and check.kind is Kind.HTTP and not check.use_tls:
        raise ValueError(f"--http2 needs TLS, where it is agreed on; write https://{check.host}/")
    cap = asked.body_cap_bytes
    return replace(
        check,
        http_versions=("2", "1.1") if asked.http2 else check.http_versions,
        sni=asked.sni if asked.neutral_sni is None else asked.neutral_sni,
        control=check.control if asked.neutral_sni is None else Control.NEUTRAL_SNI,
        expect_sha256=asked.expect_sha256,
        body_cap_bytes=check.body_cap_bytes if cap is None else cap,
    )


def _dns_asked(check: Check, asked: Asked) -> Check:
    """What the options say of a dns check; they come before the URL."""
    said = {
        "--qtype": asked.qtype,
        "--server": asked.server,
        "--authoritative": asked.authoritative,
    }
    given = [option for option, value in said.items() if value]
    if check.kind is not Kind.DNS:
        if given:
            raise ValueError(f"{given[0]} is for dns; add --kind dns, or write dns://{check.host}")
        return check
    if asked.authoritative and (asked.server or check.server):
        raise ValueError("--authoritative finds the servers itself; leave the server out")
    return replace(
        check,
        qtype=(asked.qtype or check.qtype).upper(),
        server=asked.server or check.server,
        control=Control.AUTHORITATIVE if asked.authoritative else None,
    )


def _dns_check(check: Check, parts: SplitResult) -> Check:
    if parts.scheme != "dns":
        # The name of a URL is asked for; its port and query are another protocol's.
        return replace(check, port=None, use_tls=False, qtype="AAAA" if check.family == 6 else "A")
    given = parse_qs(parts.query, keep_blank_values=True)
    unknown = sorted(set(given) - _DNS_PARAMETERS)
    if unknown:
        raise ValueError(f"{parts.geturl()!r} has {unknown[0]!r}; dns knows type and server")
    qtype = given.get("type", ["A"])[-1].upper()
    return replace(check, qtype=qtype, server=given.get("server", [None])[-1])


def _refuse_impossible(check: Check) -> Check:
    why = why_impossible(check)
    if why is None and check.kind in {Kind.HTTP, Kind.TLS}:
        why = why_not_asked(check)
    if why is not None:
        raise ValueError(f"{check.check_id!r}: {why}")
    return check
