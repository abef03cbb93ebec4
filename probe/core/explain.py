"""What one run of one check learned, for people and as data.

The page answers in this order: what came out; each step with its time, the clock the time rests on,
and the row of the classification table that decided; what the address policy said; the config in
force. The JSON has the same, with the names of the data format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from probe.core.address import Network, is_inside, parse_address, special_use
from probe.core.explainhops import hop_table
from probe.core.outcome import Attempt, Outcome
from proto.model import Check, Control, Hop, Kind, Operation, Reason, Result, State

GOOD, FAILED, NOT_RUN = 0, 1, 9
NOT_RUN_MARK: Final = "not run"  # how the sentence of a step begins that was not taken
NAMES_SHOWN: Final = 3
"""Names shown of one certificate: shared hosts have hundreds."""

AGAIN: Final = (
    "     asked again without verifying: what follows shows what is behind, it decides nothing"
)
_INDENT: Final = "  "
_TIMES: Final = (
    ("resolve", "resolve_us"),
    ("connect", "connect_us"),
    ("tls", "tls_us"),
    ("first byte", "first_byte_us"),
    ("total", "total_us"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a certificate says of itself; nothing but its fingerprint when it cannot be read."""

    sha256: str  # hex
    names: tuple[str, ...] = ()  # that it is made out to
    issuer: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One run with everything needed to understand it."""

    check: Check
    outcome: Outcome
    leaves: tuple[Leaf, ...]  # of the certificates that were shown, in that order
    allowed: tuple[Network, ...]
    config: tuple[tuple[str, str], ...]  # names and values in force, in the order to show


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0: all measured and good; 1: one measured and failed; 9: one could not be run here."""
    rows = [outcome.result for outcome in outcomes]
    if any(row.state is State.NOT_RUN for row in rows):
        return NOT_RUN
    return FAILED if any(row.failure is not None for row in rows) else GOOD


def policy_sentence(explained: Explained) -> str:
    """What the address policy decided, and why."""
    row = explained.outcome.result
    if row.reason is Reason.POLICY:
        return f"barred: {explained.outcome.attempts[-1].detail}"
    if row.address is None:
        return "no address to judge"
    check = explained.check
    of_zone = check.control is Control.AUTHORITATIVE
    if check.kind is Kind.DNS and check.server is None and not of_zone:
        return f"{row.address} is this vantage's own resolver: allowed"
    address = parse_address(row.address)
    word = None if address is None else special_use(address)
    if address is None or word is None:
        return f"{row.address} is public: allowed"
    by = [str(network) for network in explained.allowed if is_inside(address, (network,))]
    return f"{row.address} is {word}: allowed by {', '.join(by)} of allow_networks"


# --- For people ----------------------------------------------------------------------------------


def render(explained: Explained, *, with_steps: bool) -> str:
    """The page, or its head alone."""
    lines = [_title(explained), _verdict(explained.outcome.result), *_facts(explained)]
    if with_steps:
        lines += ["", "steps", *_steps(explained.outcome.attempts)]
        lines += ["", f"policy   {policy_sentence(explained)}", "config"]
        lines += [f"{_INDENT}{name} = {value}" for name, value in explained.config]
    elif explained.outcome.result.reason is not None:
        lines.append(f"{_INDENT}{explained.outcome.attempts[-1].detail}")
    return "\n".join(lines) + "\n"


def _title(explained: Explained) -> str:
    check, row = explained.check, explained.outcome.result
    where = "" if row.address is None else f" at {_endpoint(row)}"
    return f"{check.check_id}  ({check.kind.value} over IPv{check.family}{where})"


def _endpoint(row: Result) -> str:
    if row.port is None:
        return str(row.address)
    return f"[{row.address}]:{row.port}" if ":" in str(row.address) else f"{row.address}:{row.port}"


def _verdict(row: Result) -> str:
    if row.reason is not None:
        return f"not run: {row.reason.value}"
    if row.failure is None:
        return "good" if not row.lost else f"good, {row.lost} of {row.sent} lost"
    operation = "" if row.operation is None else f" at {row.operation.value}"
    return f"FAILED: {row.failure.value}{operation}"


def _facts(explained: Explained) -> list[str]:
    row = explained.outcome.result
    groups = (
        _times_line(row),
        _round_trip_line(row),
        _dns_line(row),
        _dns_flags_line(row),
        _http_line(row),
        _tls_line(row),
        *(_leaf_line(leaf) for leaf in explained.leaves),
        *hop_table(row.hops, family=row.family, show_us=show_us),
    )
    return [f"{_INDENT}{line}" for line in groups if line]


def _times_line(row: Result) -> str:
    times = [(name, getattr(row, column)) for name, column in _TIMES]
    return ", ".join(f"{name} {show_us(us)}" for name, us in times if us is not None)


def _round_trip_line(row: Result) -> str:
    if row.rtt_us_median is None or row.rtt_us_min is None or row.rtt_us_max is None:
        return ""
    clock = "" if row.stamp_source is None else f" (clock: {row.stamp_source.value})"
    if row.rtt_us_min == row.rtt_us_max:
        return f"round trip {show_us(row.rtt_us_median)}{clock}"
    span = f"{show_us(row.rtt_us_min)} to {show_us(row.rtt_us_max)}"
    got = f"{row.sent - row.lost} of {row.sent}"
    return f"round trip {show_us(row.rtt_us_median)}, {span}, {got}{clock}"


def _dns_line(row: Result) -> str:
    if row.dns_rcode is None:
        return ""
    ttl = "" if row.dns_ttl_s is None else f", TTL {row.dns_ttl_s} s"
    return f"dns rcode {row.dns_rcode}{ttl}: {row.answers or 'no answers'}"


def _dns_flags_line(row: Result) -> str:
    """How the reply came, where the reply is what was measured or what failed."""
    if row.dns_flags is None:
        return ""
    flags = row.dns_flags.split()
    shown = " ".join(flag for flag in flags if flag != "tcp") or "none"
    return f"dns flags {shown}, over {'TCP' if 'tcp' in flags else 'UDP'}"


def _http_line(row: Result) -> str:
    if row.http_status is None:
        return ""
    words = [f"HTTP/{row.http_version} {row.http_status}, {row.body_bytes} bytes of body"]
    words += [f"location {row.location}"] if row.location else []
    words += [f"edge {row.edge}"] if row.edge else []
    words += [f"a known {row.page} page"] if row.page else []
    return ", ".join(words)


def _tls_line(row: Result) -> str:
    if row.cert_verify is None:
        # Under a neutral name nobody judges; without a certificate there is nothing to tell.
        if row.cert_sha256 is None:
            return ""
        return f"{row.tls_version}, certificate not judged, sha256 {row.cert_sha256[:16]}…"
    verdict = "verified" if row.cert_verify == 0 else f"not good (verify code {row.cert_verify})"
    leaf = "" if row.cert_sha256 is None else f", sha256 {row.cert_sha256[:16]}…"
    return f"{row.tls_version or 'TLS'}, certificate {verdict}{leaf}"


def _leaf_line(leaf: Leaf) -> str:
    if leaf.valid_from is None or leaf.valid_until is None:
        return "that certificate cannot be read"
    names = ", ".join(leaf.names[:NAMES_SHOWN]) or "nobody"
    more = len(leaf.names) - NAMES_SHOWN
    names += f" and {more} more" if more > 0 else ""
    span = f"{leaf.valid_from:%Y-%m-%d %H:%M} to {leaf.valid_until:%Y-%m-%d %H:%M} UTC"
    return _printable(f"made out to {names}; by {leaf.issuer}; valid {span}")


def _printable(text: str) -> str:
    """The text without what would drive a terminal: a stranger wrote it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _steps(attempts: Sequence[Attempt]) -> list[str]:
    """One block per step: what, how long by which clock, where; then what decided."""
    lines: list[str] = []
    for number, attempt in enumerate(attempts, start=1):
        if number > 1 and _asks_again(attempts[number - 2], attempt):
            lines.append(AGAIN)
        time = "" if attempt.elapsed_us is None else show_us(attempt.elapsed_us)
        clock = "" if attempt.stamp_source is None else attempt.stamp_source.value
        word = _word(attempt)
        head = f"{number:3}  {attempt.operation.value:8} {time:>11}  {clock:8}  {word:18}"
        lines.append(f"{head} {attempt.address or ''}".rstrip())
        detail = f" ({attempt.detail})" if attempt.detail else ""
        lines.append(f"     {attempt.classified_by}{detail}")
    return lines


def _asks_again(before: Attempt, now: Attempt) -> bool:
    """After a bad certificate one more connection looks at what is behind it."""
    failed = before.operation is Operation.TLS and before.failure is not None
    return failed and now.operation is Operation.CONNECT


def _word(attempt: Attempt) -> str:
    if attempt.failure is not None:
        return attempt.failure.value
    # A step that was barred or is impossible here took no time and is not good either.
    return "good" if not attempt.classified_by.startswith(NOT_RUN_MARK) else "not run"


def show_us(us: int) -> str:
    """`412` -> `0.412 ms`, `2500000` -> `2.500 s`."""
    return f"{us / 1e6:.3f} s" if us >= 1_000_000 else f"{us / 1e3:.3f} ms"


# --- As data -------------------------------------------------------------------------------------


def as_data(explained: Explained) -> dict[str, Any]:
    """One run as JSON can hold it; fields without a value are left out."""
    return {
        "target": explained.check.check_id,
        "check": _known(explained.check),
        "result": _result_data(explained.outcome.result),
        "attempts": [_known(attempt) for attempt in explained.outcome.attempts],
        "certificates": [_leaf_data(leaf) for leaf in explained.leaves],
        "policy": policy_sentence(explained),
        "config": dict(explained.config),
    }


def _leaf_data(leaf: Leaf) -> dict[str, Any]:
    span = {"valid_from": leaf.valid_from, "valid_until": leaf.valid_until}
    found = {"sha256": leaf.sha256, "names": list(leaf.names), "issuer": leaf.issuer}
    found |= {name: None if at is None else at.isoformat() for name, at in span.items()}
    return {name: content for name, content in found.items() if content is not None}


def _result_data(row: Result) -> dict[str, Any]:
    return {**_known(row), "hops": [_known(hop) for hop in row.hops]}


def _known(value: Check | Result | Attempt | Hop) -> dict[str, Any]:
    """The fields that have a value; words of the vocabulary are strings already."""
    every = ((one.name, getattr(value, one.name)) for one in fields(value))
    return {name: content for name, content in every if content is not None}
