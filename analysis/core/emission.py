"""What a cell emits under each fault: tables as data, each row with where its figures come from.

A row gives, per kind of check, the probability of each outcome in an affected cell. A kind that a
row leaves out behaves as in its history ("base"): it speaks neither for nor against. What a row
leaves unnamed gets 0.004 each, and everything is mixed with 2 % of uniform contamination, so no
single odd answer can rule a hypothesis out.

Faults of one class look alike only on average: a broken component answers 500 from everywhere, or
hangs from everywhere, hardly ever 70:18 of both. A class therefore has several rows, its average
(from the method's table) and its pure forms, weighted; the shape test compares with the best one.

Provenance: `method` = start values by reasoning, from the project's method; `pure` = the pure form
of such a row, same reasoning. No figure here was fitted to the worlds that tests draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core.block import Floats
from analysis.core.outcomes import GOOD, OUTCOMES, SLOW
from proto.model import Kind

REST: Final = 0.004  # probability of each outcome that a row does not name
CONTAMINATION: Final = 0.02
SEVERITIES: Final = (0.35, 0.70, 0.97)
SEVERITY_WEIGHTS: Final = (0.25, 0.35, 0.40)

Table = Mapping[Kind, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """One row. `weight` is its share within `shape`; the weights of a shape sum to one."""

    name: str
    shape: str
    weight: float
    table: Table
    provenance: str = "method"


_I, _T, _H, _D = Kind.ICMP, Kind.TCP, Kind.HTTP, Kind.DNS

EMISSIONS: Final[tuple[Emission, ...]] = (
    Emission(
        name="local",
        shape="local",
        weight=1.0,
        table={
            _I: {"loss": 0.97},
            _T: {"timeout": 0.93, "unreach": 0.07},
            _H: {"DNS_TMO": 0.55, "TCP_TMO": 0.40, "DNS_ERR": 0.05},
            _D: {"timeout": 0.93, "err": 0.07},
        },
    ),
    Emission(
        name="unreachable",
        shape="unreachable",
        weight=0.6,
        table={
            _I: {"loss": 0.90, "unreach": 0.08},
            _T: {"timeout": 0.88, "unreach": 0.10},
            _H: {"TCP_TMO": 0.75, "TCP_UNR": 0.10, "DNS_TMO": 0.08, "DNS_ERR": 0.05},
        },
    ),
    Emission(
        name="unreachable_said",  # a router says so, as after a withdrawn route
        shape="unreachable",
        weight=0.2,
        provenance="pure",
        table={
            _I: {"unreach": 0.90, "loss": 0.08},
            _T: {"unreach": 0.90, "timeout": 0.08},
            _H: {"TCP_UNR": 0.88, "TCP_TMO": 0.10},
        },
    ),
    Emission(
        name="unreachable_with_names",  # the name servers live in the dead prefix too
        shape="unreachable",
        weight=0.2,
        provenance="pure",
        table={
            _I: {"loss": 0.90, "unreach": 0.08},
            _T: {"timeout": 0.88, "unreach": 0.10},
            _H: {"DNS_TMO": 0.55, "DNS_ERR": 0.30, "TCP_TMO": 0.12},
            _D: {"timeout": 0.65, "err": 0.32},
        },
    ),
    Emission(
        name="saturated",
        shape="saturated",
        weight=1.0,
        table={
            _I: {"reply": 0.35, "loss": 0.45, "highrtt": 0.20},
            _T: {"ok": 0.30, "slow": 0.35, "timeout": 0.35},
            _H: {
                "OK": 0.15, "SLOW": 0.30, "TCP_TMO": 0.35, "TLS_TMO": 0.12, "H_TMO": 0.08,
            },
        },
    ),
    Emission(
        name="names",
        shape="names",
        weight=0.5,
        table={
            _H: {"DNS_ERR": 0.62, "DNS_TMO": 0.33},
            _D: {"err": 0.62, "timeout": 0.33},
        },
    ),
    Emission(
        name="names_wrong",
        shape="names",
        weight=0.25,
        provenance="pure",
        table={_H: {"DNS_ERR": 0.97}, _D: {"err": 0.97}},
    ),
    Emission(
        name="names_silent",
        shape="names",
        weight=0.25,
        provenance="pure",
        table={_H: {"DNS_TMO": 0.97}, _D: {"timeout": 0.97}},
    ),
    Emission(
        name="edge",
        shape="edge",
        weight=0.4,
        table={
            _I: {"loss": 0.65, "reply": 0.33},
            _T: {"timeout": 0.50, "rst": 0.46, "unreach": 0.04},
            _H: {"TCP_TMO": 0.50, "TCP_RST": 0.46},
        },
    ),
    Emission(
        name="edge_refused",  # the machine lives, nothing listens
        shape="edge",
        weight=0.3,
        provenance="pure",
        table={_T: {"rst": 0.97}, _H: {"TCP_RST": 0.97}},
    ),
    Emission(
        name="edge_silent",
        shape="edge",
        weight=0.3,
        provenance="pure",
        table={
            _I: {"loss": 0.90, "reply": 0.08},
            _T: {"timeout": 0.95},
            _H: {"TCP_TMO": 0.95},
        },
    ),
    Emission(
        name="tls",
        shape="tls",
        weight=0.4,
        table={_H: {"TLS_CERT": 0.66, "TLS_RST": 0.17, "TLS_TMO": 0.17}},
    ),
    Emission(
        name="tls_certificate",
        shape="tls",
        weight=0.3,
        provenance="pure",
        table={_H: {"TLS_CERT": 0.97}},
    ),
    Emission(
        name="tls_cut",
        shape="tls",
        weight=0.3,
        provenance="pure",
        table={_H: {"TLS_RST": 0.60, "TLS_TMO": 0.37}},
    ),
    Emission(
        name="application",
        shape="application",
        weight=0.6,
        table={_H: {"H5XX": 0.70, "H_TMO": 0.18, "H_DIFF": 0.06, "H_BLOCK": 0.03}},
    ),
    Emission(
        name="application_hangs",
        shape="application",
        weight=0.15,
        provenance="pure",
        table={_H: {"H_TMO": 0.95}},
    ),
    Emission(
        name="application_turns_away",
        shape="application",
        weight=0.15,
        provenance="pure",
        table={_H: {"H_BLOCK": 0.95}},
    ),
    Emission(
        name="application_wrong_content",
        shape="application",
        weight=0.10,
        provenance="pure",
        table={_H: {"H_DIFF": 0.95}},
    ),
    Emission(
        name="overload",
        shape="overload",
        weight=0.7,
        table={
            _T: {"ok": 0.82, "slow": 0.12, "timeout": 0.06},
            _H: {
                "OK": 0.28, "SLOW": 0.30, "H_TMO": 0.20, "H5XX": 0.14, "TLS_TMO": 0.05,
                "H_BLOCK": 0.03,
            },
        },
    ),
    Emission(
        name="overload_sheds",  # the same failure behind a proxy that gives up quickly
        shape="overload",
        weight=0.3,
        provenance="pure",
        table={_H: {"OK": 0.20, "SLOW": 0.30, "H5XX": 0.42, "H_TMO": 0.05}},
    ),
    Emission(
        name="blocked_tls",
        shape="blocked",
        weight=0.34,
        table={_H: {"TLS_RST": 0.60, "TLS_TMO": 0.35}},
    ),
    Emission(
        name="blocked_dns",
        shape="blocked",
        weight=0.33,
        table={_H: {"DNS_BOGUS": 0.80, "DNS_ERR": 0.15}, _D: {"bogus": 0.80, "err": 0.15}},
    ),
    Emission(
        name="blocked_ip",
        shape="blocked",
        weight=0.33,
        table={
            _I: {"loss": 0.40, "reply": 0.58},
            _T: {"timeout": 0.70, "rst": 0.30},
            _H: {"TCP_TMO": 0.65, "TCP_RST": 0.30},
        },
    ),
    Emission(
        name="connections_exhausted",  # only claim sheets ask for it: state run full, packets pass
        shape="exhausted",
        weight=1.0,
        table={
            _T: {"ok": 0.20, "slow": 0.35, "timeout": 0.40, "rst": 0.05},
            _H: {"OK": 0.12, "SLOW": 0.25, "TCP_TMO": 0.48, "TCP_RST": 0.05, "TLS_TMO": 0.10},
        },
    ),
)  # fmt: skip

# Typical cells of a healthy internet, where history is still short. Provenance: reasoning from
# published loss rates of well-run hosts (median loss below half a percent).
TYPICAL: Final[Table] = {
    Kind.ICMP: {"reply": 0.985, "highrtt": 0.005, "loss": 0.009, "unreach": 0.001},
    Kind.TCP: {"ok": 0.985, "slow": 0.008, "timeout": 0.005, "rst": 0.001, "unreach": 0.001},
    Kind.HTTP: {"OK": 0.975, "SLOW": 0.012},
    Kind.DNS: {"ok": 0.980, "slow": 0.012, "err": 0.003, "timeout": 0.004, "bogus": 0.001},
    Kind.TLS: {"OK": 0.980, "SLOW": 0.010},
}


def vector(kind: Kind, row: Mapping[str, float], *, rest: float = REST) -> Floats:
    """A row as probabilities over the kind's outcomes, without contamination; sums to one."""
    values = np.array([row.get(name, rest) for name in OUTCOMES[kind]])
    return np.asarray(values / values.sum())


def with_unspecific(values: Floats) -> Floats:
    """The same with one more column at the end: the sum of all that is neither good nor slow."""
    failing = values.sum(axis=-1, keepdims=True) - values[..., [GOOD, SLOW]].sum(
        axis=-1, keepdims=True
    )
    return np.concatenate([values, failing], axis=-1)


def typical(kind: Kind) -> Floats:
    """The global table of a kind."""
    return vector(kind, TYPICAL[kind], rest=0.001)


def affected(emission: Emission, kind: Kind) -> Floats | None:
    """Outcome probabilities in an affected cell, with the unspecific column; None = base."""
    row = _row(emission, kind)
    if row is None:
        return None
    values = vector(kind, row)
    mixed = (1 - CONTAMINATION) * values + CONTAMINATION / len(values)
    return with_unspecific(mixed)


def _row(emission: Emission, kind: Kind) -> Mapping[str, float] | None:
    """A tls check is a web request that stops after the handshake: later failures read as good."""
    if kind is not Kind.TLS:
        return emission.table.get(kind)
    web = emission.table.get(Kind.HTTP)
    if web is None:
        return None
    row = {name: value for name, value in web.items() if name in OUTCOMES[Kind.TLS]}
    later = sum(web.values()) - sum(row.values())
    row["OK"] = row.get("OK", 0.0) + later
    return None if row["OK"] + row.get("SLOW", 0.0) > ANSWERING else row


ANSWERING: Final = 0.9  # a tls row that mostly answers says nothing that history does not
