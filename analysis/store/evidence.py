"""The sentences under a verdict, each with the question behind it and the value it gave here.

The questions are the files under `analysis/sql`; what is shown has the values written in, so that
anyone can paste it into `soundings sql` and get the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import duckdb

from analysis.core.outcomes import OUTCOMES
from analysis.core.taxonomy import Level, VerdictClass
from analysis.core.verdict import Evidence, Verdict
from analysis.store.questions import PARAMETER, ask, question
from analysis.store.reading import naive
from proto.model import Kind

# The kinds of check by which each class shows. What is not listed rests on all of them.
_WEB: Final = frozenset({Kind.HTTP})
_PACKETS: Final = frozenset({Kind.ICMP, Kind.TCP, Kind.HTTP})
RESTS_ON: Final[Mapping[VerdictClass, frozenset[Kind]]] = {
    VerdictClass.UPSTREAM: _PACKETS,
    VerdictClass.TARGET_NET: _PACKETS,
    VerdictClass.TARGET_NETWORK: _PACKETS,
    VerdictClass.TARGET_NETWORK_LOSSY: _PACKETS,
    VerdictClass.DNS: frozenset({Kind.DNS, Kind.HTTP}),
    VerdictClass.EDGE: frozenset({Kind.TCP, Kind.HTTP}),
    VerdictClass.TLS: frozenset({Kind.TLS, Kind.HTTP}),
    VerdictClass.APPLICATION: _WEB,
    VerdictClass.APPLICATION_SERVICE: _WEB,
    VerdictClass.APPLICATION_COMPONENT: _WEB,
    VerdictClass.OVERLOAD: _WEB,
    VerdictClass.OTHER_TARGET_FAULT: _WEB,
}
SLOWNESS_COUNTS: Final = frozenset({VerdictClass.OVERLOAD, VerdictClass.TARGET_NETWORK_LOSSY})


def evidence_of(con: duckdb.DuckDBPyConnection, verdict: Verdict) -> tuple[Evidence, ...]:
    """What the verdict rests on, asked again in plain SQL."""
    values = _values(verdict)
    return (*_found(con, verdict, values), *_left_out(verdict, values))


def _left_out(verdict: Verdict, values: Mapping[str, Any]) -> tuple[Evidence, ...]:
    """Whose rows weighed nothing; they are in the tables like any other."""
    if not verdict.quarantined:
        return ()
    count = len(verdict.quarantined)
    who = "1 vantage point was" if count == 1 else f"{count} vantage points were"
    text = f"{who} under quarantine and weighed nothing: {', '.join(verdict.quarantined)}."
    return (Evidence(text, written_out("quarantined", values), count),)


def _found(
    con: duckdb.DuckDBPyConnection, verdict: Verdict, values: Mapping[str, Any]
) -> tuple[Evidence, ...]:
    if verdict.level is Level.LOCAL and "missing_data" in verdict.reasons:
        return _refusals(con, values)
    found = _networks(con, values, verdict.verdict_class)
    found += _kinds(con, values)
    found += _share(con, values, name="lost_at_siblings", about="the rest of the service")
    for role, about in (("neighbour", "neighbours in the prefix"), ("anchor", "unrelated anchors")):
        found += _share(con, {**values, "role": role}, name="lost_by_role", about=about)
    return tuple(found)


def _values(verdict: Verdict) -> dict[str, Any]:
    since = verdict.onset.best if verdict.onset else verdict.window_from
    until = verdict.end.best if verdict.end else verdict.window_to
    return {
        "scenario": verdict.scenario,
        "service": verdict.service,
        "components": list(verdict.scope.components),
        "window_from": naive(verdict.window_from),
        "since": naive(since),
        "until": naive(until),
        "as_of": naive(verdict.as_of),
        "quarantined": list(verdict.quarantined),
    }


def _networks(
    con: duckdb.DuckDBPyConnection, values: Mapping[str, Any], said: VerdictClass
) -> list[Evidence]:
    """From how many networks the kinds of check that the verdict rests on went wrong.

    None where there is nothing to count: a fault that is mild everywhere passes the mark in no
    network, and "0 of 12" under a verdict would read as though nobody had seen it.
    """
    rests_on = sorted(kind.value for kind in RESTS_ON.get(said, frozenset(OUTCOMES)))
    asked = {**values, "kinds": rests_on, "count_slow": said in SLOWNESS_COUNTS}
    hit, networks = ask(con, "networks_hit", asked)[0]
    if not hit:
        return []
    how = "were slow or failed" if asked["count_slow"] else "failed"
    kinds = " and ".join((", ".join(rests_on[:-1]), rests_on[-1])) if rests_on[1:] else rests_on[0]
    text = f"A fifth or more of the {kinds} attempts {how} from {hit} of {networks} networks."
    return [Evidence(text, written_out("networks_hit", asked), hit)]


def _refusals(con: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> tuple[Evidence, ...]:
    """What stopped each vantage point, where none could send."""
    sql = written_out("own_refusals", values)
    return tuple(
        Evidence(f"{vantage} could send nothing to any of {targets} targets.", sql, failure)
        for vantage, _, targets, failure in ask(con, "own_refusals", values)
    )


def _kinds(con: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> list[Evidence]:
    sql = written_out("lost_by_kind", values)
    return [
        Evidence(f"{share:.1%} of the {kind} attempts were lost.", sql, round(share, 6))
        for kind, share in ask(con, "lost_by_kind", values)
    ]


def _share(
    con: duckdb.DuckDBPyConnection, values: Mapping[str, Any], *, name: str, about: str
) -> list[Evidence]:
    share, components = ask(con, name, values)[0]
    if share is None:
        return []
    text = f"At {about} ({components}), {share:.1%} of the attempts were lost."
    return [Evidence(text, written_out(name, values), round(share, 6))]


def written_out(name: str, values: Mapping[str, Any]) -> str:
    """The question with its values as literals, for people to paste."""
    return PARAMETER.sub(lambda match: literal(values[match[1]]), question(name)).strip()


def literal(value: object) -> str:
    """A value as SQL text."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    if isinstance(value, list):
        return f"[{', '.join(literal(one) for one in value)}]"
    if isinstance(value, str):
        escaped = value.replace("'", "''")
        return f"'{escaped}'"
    return str(value)
