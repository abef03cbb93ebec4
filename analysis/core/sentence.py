"""What a verdict says in words, for people who will post it.

One sentence answers the founding question, then names who saw it and what is fine. It only claims
what was measured: "the rest is fine" stands there only when the rest was looked at. It never names
an intent. What cannot be told apart from outside is listed beside it, per class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from analysis.core.taxonomy import VerdictClass

C = VerdictClass

NOT_OBSERVED: Final = (
    "the content and origin of other people's requests",
    "anyone's intent",
    "capacity and state inside the service",
)

MECHANISMS: Final[Mapping[VerdictClass, tuple[str, ...]]] = {
    C.VANTAGE_LOCAL: ("the vantage point's machine", "its line", "a filter in front of it"),
    C.ACCESS_NETWORK: ("the network itself", "the building that its machines share"),
    C.COUNTRY: ("an ordered shutdown", "a cable", "power", "a fault of the national network"),
    C.UPSTREAM: ("a transit network's fault", "a withdrawn or hijacked route", "a saturated link"),
    C.INTERFERENCE: ("filtering on the path", "the service turning that region away"),
    C.TARGET_NETWORK: ("the target's network", "its only upstream", "a withdrawn route"),
    C.TARGET_NETWORK_LOSSY: ("hostile traffic", "a legitimate surge", "a failing link"),
    C.DNS: ("the zone", "its name servers", "an expired or held domain"),
    C.EDGE: ("a host or load balancer that is down", "a filter that drops everything"),
    C.TLS: ("an expired or wrong certificate", "a broken TLS front end"),
    C.APPLICATION_SERVICE: ("a defect", "a change", "overload", "a common back end"),
    C.APPLICATION_COMPONENT: (
        "a defect of the component", "an organic crowd", "hostile request load", "a switched-off feature",
    ),
    C.OVERLOAD: (
        "an organic crowd", "hostile request load", "a defect or retry storm", "a capacity cut",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the sentence may use."""

    service: str
    components: tuple[str, ...]
    failing_groups: int
    groups: int
    countries: int
    siblings_fine: bool
    neighbours_fine: bool
    failing_siblings: tuple[str, ...] = ()
    vantages: tuple[str, ...] = ()
    asns: tuple[int, ...] = ()
    affected_countries: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def compose(verdict_class: VerdictClass, seen: Seen) -> str:
    """The one-sentence answer."""
    if verdict_class is C.INSUFFICIENT:
        return _insufficient(seen)
    if verdict_class is C.HEALTHY:
        return f"{name_of(seen)} answers as it usually does from {_voices(seen)}{_others(seen)}."
    if verdict_class in {C.SOURCE, C.VANTAGE_LOCAL, C.ACCESS_NETWORK, C.COUNTRY}:
        return _local(verdict_class, seen)
    fine = "" if verdict_class in _ON_THE_WAY else _fine(seen)
    return (
        f"{name_of(seen)} {_FAILS[verdict_class]} {_voices(seen)}{fine}: {_MEANS[verdict_class]}."
    )


def name_of(seen: Seen) -> str:
    """The service, with its component when the verdict is about one."""
    return f"{seen.service} {seen.components[0]}" if len(seen.components) == 1 else seen.service


def _voices(seen: Seen) -> str:
    networks = _plural(seen.groups, "network", "networks")
    return (
        f"{seen.failing_groups} of {networks} in {_plural(seen.countries, 'country', 'countries')}"
    )


def _plural(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _fine(seen: Seen) -> str:
    fine = [f"the rest of {seen.service}"] if seen.siblings_fine else []
    fine += ["the networks around it"] if seen.neighbours_fine else []
    if not fine:
        return ""
    verb = "is" if not seen.neighbours_fine else "are"
    return f"; {' and '.join(fine)} {verb} fine"


def _others(seen: Seen) -> str:
    if not seen.failing_siblings:
        return ""
    verb = "does" if len(seen.failing_siblings) == 1 else "do"
    return f"; {seen.service} {' and '.join(seen.failing_siblings)} {verb} not"


def _local(verdict_class: VerdictClass, seen: Seen) -> str:
    who = {
        C.ACCESS_NETWORK: _listing("network AS", [str(asn) for asn in seen.asns]),
        C.COUNTRY: _listing("networks of ", list(seen.affected_countries)),
    }.get(verdict_class, _listing("vantage point ", list(seen.vantages)))
    return (
        f"The fault lies with the {who}, not with {name_of(seen)}: "
        f"there unrelated targets fail as well, a local disruption."
    )


def _listing(what: str, names: list[str]) -> str:
    return what + (", ".join(names) if names else "(not settled which)")


def _insufficient(seen: Seen) -> str:
    because = ", ".join(seen.reasons) if seen.reasons else "the evidence is contradictory"
    return f"Nothing can be said of {name_of(seen)}: the evidence does not suffice ({because})."


# There the rest of the service shares the way that fails: nothing stands apart from it as fine.
_ON_THE_WAY: Final = frozenset({C.PATH, C.UPSTREAM, C.INTERFERENCE})

_FAILS: Final[Mapping[VerdictClass, str]] = {
    C.PATH: "is out of reach for some:",
    C.UPSTREAM: "and unrelated targets are out of reach from",
    C.INTERFERENCE: "fails only in one region, from",
    C.TARGET: "is failing from",
    C.TARGET_NET: "cannot be reached well from",
    C.TARGET_NETWORK: "cannot be reached from",
    C.TARGET_NETWORK_LOSSY: "loses packets from",
    C.DNS: "cannot be found by name from",
    C.EDGE: "accepts no connections from",
    C.TLS: "fails to set up encryption from",
    C.APPLICATION: "is failing from",
    C.APPLICATION_SERVICE: "is failing from",
    C.APPLICATION_COMPONENT: "is failing from",
    C.OVERLOAD: "is slow or failing from",
    C.OTHER_TARGET_FAULT: "fails in an unfamiliar way from",
}

_MEANS: Final[Mapping[VerdictClass, str]] = {
    C.PATH: "a fault between some networks and the target, not of the target itself",
    C.UPSTREAM: "an upstream disruption, not a fault of the service",
    C.INTERFERENCE: "interference on the path or by region, not a failure of the service",
    C.TARGET: "a fault at the target, not an upstream disruption; which part is not settled",
    C.TARGET_NET: "a fault of the target's network; whether down or lossy is not settled",
    C.TARGET_NETWORK: "the target's network, or its only upstream, is down",
    C.TARGET_NETWORK_LOSSY: "the target's network is lossy; what fills or breaks it cannot be seen from outside",
    C.DNS: "a failure of its names, not of the servers behind them",
    C.EDGE: "its hosts or load balancers are down or filtered, the network around them is not",
    C.TLS: "an encryption set-up failure at the target",
    C.APPLICATION: "an application-level failure, not an upstream disruption",
    C.APPLICATION_SERVICE: "an application-level failure of the whole service, not an upstream disruption",
    C.APPLICATION_COMPONENT: "an application-level failure, not an upstream disruption",
    C.OVERLOAD: (
        "an overload-type failure of the application, not an upstream disruption; "
        "what overloads it cannot be seen from outside"
    ),
    C.OTHER_TARGET_FAULT: "a fault at the target that fits no known shape",
}
