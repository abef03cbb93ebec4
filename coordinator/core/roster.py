"""The fleet as an operator reads it on a terminal: a line each, or one probe in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Facts = Mapping[str, Any]
"""A probe as the operator's door gives it; None = it did not say."""

NAME_CHARS: Final = 12

HEAD: Final = (
    f"{'PROBE':<14} {'NAME':<12} {'STATE':<11} {'ASN':>10} {'IN':<3} {'SPOOL':>5} {'EVICTED':>7} "
    f"{'BUSY':>5} {'LATE':>9}  CLOCK"
)


def line(facts: Facts) -> str:
    """One probe in 100 characters. SPOOL and EVICTED are rows, BUSY slots that it gave up.

    An exclamation mark stands behind what was declared otherwise than it is seen.
    """
    return (
        f"{facts['probe_id']:<14} {_cut(facts['name']):<12} {facts['state']:<11} "
        f"{_marked(facts, 'asn'):>10} {_marked(facts, 'country'):<3} "
        f"{_count(facts['spool_rows']):>5} {_count(facts['evicted_rows']):>7} "
        f"{_count(facts['overloaded_slots']):>5} {_ms(facts['lateness_us_p99']):>9}  "
        f"{clock(facts)}"
    )


def full(facts: Facts, *, now_us: int) -> list[str]:
    """Everything that is known of one probe, a figure a line, with what it means."""
    return [f"{name:<14} {text}" for name, text in _figures(facts, now_us)]


def _figures(facts: Facts, now_us: int) -> list[tuple[str, str]]:
    return [
        ("probe", facts["probe_id"]),
        ("name", facts["name"]),
        ("state", facts["state"] + _decided(facts, now_us)),
        ("last heard", _ago(facts["seen_at_us"], now_us)),
        ("network", _sourced(facts, "asn", "AS{}")),
        ("country", _sourced(facts, "country", "{}")),
        ("comes from", _said(facts["address"], "{}") + _held(facts) + _translated(facts)),
        ("provider", facts["provider"] or "not declared"),
        ("labels", ", ".join(f"{k}={v}" for k, v in sorted(facts["labels"].items())) or "none"),
        ("version", _said(facts["version"])),
        ("families", ", ".join(f"IPv{one}" for one in facts["families"]) or _said(None)),
        ("capabilities", ", ".join(facts["capabilities"]) or _said(None)),
        ("plan", facts["plan_version"] or "none yet"),
        ("allowed", _allowed(facts["limits"])),
        *(("REFUSED", text) for text in facts["refused"]),
        ("up for", _said(facts["uptime_s"], "{:.0f} s")),
        ("clock", f"{clock(facts)} to the coordinator's, {_discipline(facts)}, {_drift(facts)}"),
        ("spool", f"{_said(facts['spool_rows'], '{} rows')}, {_mib(facts['spool_bytes'])}"),
        ("evicted", _said(facts["evicted_rows"], "{} rows lost for want of room, ever")),
        ("given up", _said(facts["overloaded_slots"], "{} slots since its start: too busy")),
        ("lateness", _late(facts["lateness_us_p99"])),
        ("queue", _said(facts["queue_depth"], "{} checks waiting or running")),
        ("drops", _said(facts["receive_drops"], "{} replies dropped by its kernel")),
        ("memory", _mib(facts["rss_bytes"])),
        ("processor", _share(facts["cpu_s"], facts["uptime_s"])),
    ]


def _decided(facts: Facts, now_us: int) -> str:
    """Who put it in its state, when, and why."""
    if facts["state_at_us"] is None:
        return ""
    return f", by {facts['state_by']} {_ago(facts['state_at_us'], now_us)}: {facts['state_reason']}"


def differs(facts: Facts, fact: str) -> bool:
    """Was a fact declared otherwise than it is seen?"""
    declared, seen = facts[f"declared_{fact}"], facts[f"seen_{fact}"]
    return None not in {declared, seen} and declared != seen


def _marked(facts: Facts, fact: str) -> str:
    return f"{facts[fact] or '-'}{'!' if differs(facts, fact) else ''}"


def _sourced(facts: Facts, fact: str, form: str) -> str:
    """A fact, where it comes from, and the other word where there is one."""
    if facts[fact] is None:
        return "neither declared nor seen"
    source = facts[f"{fact}_source"]
    if not differs(facts, fact):
        return f"{form.format(facts[fact])}, {source}"
    other = "declared" if source == "seen" else "seen"
    return f"{form.format(facts[fact])}, {source}; NOT as {other}: {facts[f'{other}_{fact}']}"


def _held(facts: Facts) -> str:
    return f", held by {facts['seen_holder']}" if facts["seen_holder"] else ""


def _translated(facts: Facts) -> str:
    """Whether that is its own address."""
    translated = facts["translated"]
    if translated is None:
        return ""
    return ", behind NAT: it sends from another" if translated else ", its own"


def _allowed(limits: Mapping[str, float] | None) -> str:
    return (
        _said(None)
        if limits is None
        else "{checks_per_s:g} checks a second, {per_target_per_minute:g} a minute to one target, "
        "{concurrent} at once ({concurrent_https} of them TLS), {outstanding_icmp} echoes out".format(
            **limits
        )
    )


def clock(facts: Facts) -> str:
    """The clock's offset with its bound."""
    offset, error = facts["clock_offset_us"], facts["clock_error_us"]
    if offset is None:
        return "-"
    bound = "" if error is None else f" ±{error / 1000:.1f}"
    return f"{offset / 1000:+.1f}{bound} ms"


def _cut(name: str) -> str:
    """A name in its column; `--json` has it whole."""
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"


def _count(value: int | None) -> str:
    """At most five characters: 9999, 12k, 3456k, 78M."""
    if value is None:
        return "-"
    if value < 10_000:
        return str(value)
    return f"{value // 1_000}k" if value < 10_000_000 else f"{value // 1_000_000}M"


def _said(value: object, form: str = "{}") -> str:
    return "not said" if value is None else form.format(value)


def _ms(value_us: int | None) -> str:
    return "-" if value_us is None else f"{value_us / 1000:.1f} ms"


def _late(value_us: int | None) -> str:
    return _said(None if value_us is None else _ms(value_us), "{} at the 99th percentile")


def _mib(size: int | None) -> str:
    return _said(None if size is None else size / (1 << 20), "{:.1f} MiB")


def _share(cpu_s: float | None, uptime_s: float | None) -> str:
    if cpu_s is None or not uptime_s:
        return _said(None)
    return f"{100 * cpu_s / uptime_s:.1f} % of one core since its start"


def _discipline(facts: Facts) -> str:
    synchronised = facts["clock_synchronised"]
    if synchronised is None:
        return "kernel does not say whether it is disciplined"
    return "disciplined" if synchronised else "NOT disciplined"


def _drift(facts: Facts) -> str:
    drift = facts["clock_drift_ppb"]
    return "drift not known yet" if drift is None else f"gains {drift / 1000:+.1f} ppm"


def _ago(at_us: int | None, now_us: int) -> str:
    return "not since the coordinator's start" if at_us is None else f"{_s(now_us - at_us)} s ago"


def _s(span_us: int) -> str:
    return f"{max(0, span_us) / 1_000_000:.0f}"
