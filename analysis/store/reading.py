"""From the store to a block: SQL counts and numbers, and from here on nothing reads the store.

History is every row of the scenario before the window, back to `history_since`. `as_of` hides rows
that had not arrived by then, so a verdict can be asked for again as it could have been given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import duckdb
import numpy as np

from analysis.core import outcomes
from analysis.core.baseline import HALF_LIFE_S
from analysis.core.block import Block, Channel, Counts, Floats, OwnReport, Target, Vantage
from analysis.core.masks import lay_out, prefix_key
from analysis.store.questions import ask, ask_arrays
from proto.model import Failure, Kind, Operation, Role, SoundingsError

# Four half-lives: what is older weighs under a sixteenth and costs as much to read.
HISTORY_S: Final = 4 * HALF_LIFE_S
# Times are compared with those of the last hours: routes change from day to day, medians cost most.
RTT_HISTORY_S: Final = 6 * 3600.0
DEFAULT_BIN_S: Final = 60.0  # for rows that are single slots (bin_s = 0)
INCIDENT_SHARE: Final = (
    0.25  # failing share above the usual that marks a bin of history as incident
)
INCIDENT_VOICES: Final = 6  # with fewer vantages one lost packet would look like one
MAX_UNRELATED: Final = 64  # targets of other services that serve as anchors; more would only cost
ANCHORS_ENOUGH: Final = 8
# How full the cells are is compared with the recent past only: intervals may have been changed since.
DENSITY_WINDOWS: Final = 10
DENSITY_AT_LEAST: Final = timedelta(hours=1)
HEARTBEAT_SLACK_S: Final = 45.0  # three heartbeats of the default interval


class NoSuchServiceError(SoundingsError):
    """The store has no row of that service; `known` lists what there is."""

    def __init__(self, service: str, known: tuple[str, ...]) -> None:
        listed = ", ".join(known) if known else "none at all"
        super().__init__(f"no service {service!r} in these rows; there is: {listed}")
        self.known = known


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What to read. Times are UTC; `until` is exclusive."""

    scenario: str | None
    since: datetime
    until: datetime
    as_of: datetime
    history_since: datetime | None = None


def naive(at: datetime) -> datetime:
    """As the store keeps it: UTC without saying so."""
    return at.astimezone(UTC).replace(tzinfo=None)


def aware(at: datetime) -> datetime:
    """As the program keeps it."""
    return at.replace(tzinfo=UTC)


def read_block(con: duckdb.DuckDBPyConnection, window: Window, *, service: str) -> Block:
    """Everything that bears on the components of a service over a window.

    Raises:
        NoSuchServiceError: no row of that service in history or window.
    """
    values = _values(window)
    whole = {**values, "since": values["history_since"]}
    targets = _targets(ask(con, "targets", whole), service)
    quarantined = _quarantined(con, values)
    values |= {"quarantined": list(quarantined)}
    vantages = tuple(
        Vantage(*row) for row in ask(con, "vantages", whole) if row[0] not in quarantined
    )
    bin_s = _bin_s(ask(con, "grid", whole)[0][0])
    anchors = lay_out(targets, service=service, component=None).anchors
    values |= {"bin_s": bin_s, "service": service, **_numbered(targets, vantages)}
    values |= {"controls": anchors.tolist()}
    values |= _signatures(ask(con, "signatures", whole))
    counted = ask_arrays(con, "counts", values)
    channels, channel = _channels(counted)
    past = counted["bin"] < 0
    window_rows, history = _counts(counted, channel, ~past), _counts(counted, channel, past)
    cells, bins = _density(ask(con, "density", values), targets)
    return Block(
        scenario=window.scenario,
        vantages=vantages,
        targets=targets,
        channels=channels,
        start=window.since,
        bin_s=bin_s,
        bins=max(1, int(np.ceil((window.until - window.since).total_seconds() / bin_s))),
        as_of=window.as_of,
        window=window_rows,
        history=history,
        attempts=_attempts(counted, channel, past, shape=(len(targets), len(channels))),
        history_cells=cells,
        history_bins=bins,
        heartbeat=_heartbeats(con, values, vantages),
        reports=tuple(
            OwnReport(vantage=vantage, attempts=attempts, targets=measured, failure=failure)
            for vantage, attempts, measured, failure in ask(con, "own_refusals", values)
        ),
        quarantined=quarantined,
    )


def _quarantined(con: duckdb.DuckDBPyConnection, values: dict[str, Any]) -> tuple[str, ...]:
    """Who weighs nothing; foreign rows come from no probe of ours."""
    if values["scenario"] is not None:
        return ()
    return tuple(name for (name,) in ask(con, "quarantined", values))


def _values(window: Window) -> dict[str, Any]:
    history = window.history_since or window.since - timedelta(seconds=HISTORY_S)
    recent = max((window.until - window.since) * DENSITY_WINDOWS, DENSITY_AT_LEAST)
    return {
        "density_since": naive(max(history, window.since - recent)),
        "scenario": window.scenario,
        "since": naive(window.since),
        "until": naive(window.until),
        "as_of": naive(window.as_of),
        "history_since": naive(history),
        "half_life_s": HALF_LIFE_S,
        "incident_share": INCIDENT_SHARE,
        "incident_voices": INCIDENT_VOICES,
        "slow_factor": outcomes.SLOW_FACTOR,
        "slow_z": outcomes.SLOW_Z,
        "slow_excess_ms": outcomes.SLOW_EXCESS_MS,
        "slow_spread_floor": outcomes.SLOW_SPREAD_FLOOR,
        "slow_min_history": outcomes.SLOW_MIN_HISTORY,
        "slow_min_controls": outcomes.SLOW_MIN_CONTROLS,
        "rtt_history_s": RTT_HISTORY_S,
        "heartbeat_slack_s": HEARTBEAT_SLACK_S,
        "mad_to_sigma": outcomes.MAD_TO_SIGMA,
    }


def _bin_s(widest: int | None) -> float:
    return float(widest) if widest else DEFAULT_BIN_S


def _targets(rows: Sequence[tuple[Any, ...]], service: str) -> tuple[Target, ...]:
    """The targets that bear on a service: its own, its surroundings, and anchors."""
    known = [_target(row) for row in rows]
    own = [one for one in known if one.service == service]
    if not own:
        names = sorted({one.service for one in known if one.role is not Role.ANCHOR})
        raise NoSuchServiceError(service, tuple(names))
    prefixes = {key for one in own if (key := prefix_key(one)) is not None}
    asns = {one.asn for one in own if one.asn is not None}
    near = [
        one
        for one in known
        if one.service != service
        and one.role is not Role.ANCHOR
        and (prefix_key(one) in prefixes or one.asn in asns)
    ]
    anchors = [one for one in known if one.role is Role.ANCHOR and one.service != service]
    taken = {id(one) for one in (*own, *near, *anchors)}
    subjects = (Role.SUBJECT, Role.SIBLING, None)
    others = [one for one in known if id(one) not in taken and one.role in subjects]
    spare = [] if len(anchors) >= ANCHORS_ENOUGH else others[:MAX_UNRELATED]
    return (*own, *near, *anchors, *spare)


def _target(row: tuple[Any, ...]) -> Target:
    service, component, role, address, asn, prefix = row
    return Target(
        service=service,
        component=component,
        role=None if role is None else Role(role),
        address=address,
        asn=asn,
        prefix=prefix,
    )


def _numbered(targets: Sequence[Target], vantages: Sequence[Vantage]) -> dict[str, Any]:
    """The axes as lists for the join; what is not known has a stand-in there and nowhere else."""
    return {
        "services": [one.service for one in targets],
        "components": [one.component for one in targets],
        "targets": list(range(len(targets))),
        "names": [one.name for one in vantages],
        "asns": [-1 if one.asn is None else one.asn for one in vantages],
        "countries": [one.country or "" for one in vantages],
        "vantages": list(range(len(vantages))),
    }


def _signatures(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """What each distinct way to fail means."""
    return {
        "kinds": [row[0] for row in rows],
        "operations": [row[1] or "" for row in rows],
        "failures": [row[2] or "" for row in rows],
        "statuses": [-1 if row[3] is None else row[3] for row in rows],
        "outcomes": [
            outcomes.failure_outcome(
                Kind(kind),
                operation=None if operation is None else Operation(operation),
                failure=None if failure is None else Failure(failure),
                http_status=status,
            )
            for kind, operation, failure, status in rows
        ],
    }


def _channels(counted: dict[str, Any]) -> tuple[tuple[Channel, ...], Any]:
    """The channels that occur, and the channel of each row."""
    kinds = list(Kind)
    code = np.array([kinds.index(Kind(kind)) for kind in counted["kind"]], dtype=np.int64)
    key = code * 10 + counted["family"].astype(np.int64)
    present, channel = np.unique(key, return_inverse=True)
    named = tuple(Channel(kinds[int(one) // 10], int(one) % 10 or None) for one in present)
    return named, channel


def _counts(counted: dict[str, Any], channel: Any, keep: Any) -> Counts:
    return Counts(
        vantage=counted["vantage"][keep].astype(np.int64),
        target=counted["target"][keep].astype(np.int64),
        channel=channel[keep],
        bin=np.maximum(counted["bin"][keep], 0).astype(np.int64),
        outcome=counted["outcome"][keep].astype(np.int64),
        count=counted["weight"][keep].astype(np.float64),
    )


def _attempts(
    counted: dict[str, Any], channel: Any, past: Any, *, shape: tuple[int, int]
) -> Floats:
    attempts = np.zeros(shape)
    np.add.at(attempts, (counted["target"][past], channel[past]), counted["attempts"][past])
    return attempts


def _density(rows: Sequence[tuple[Any, ...]], targets: Sequence[Target]) -> tuple[Floats, int]:
    cells = {(service, component): count for service, component, count, _ in rows}
    bins = max((-first for _, _, _, first in rows), default=0)
    filled = [cells.get((one.service, one.component), 0) for one in targets]
    return np.array(filled, dtype=np.float64), int(bins)


def _heartbeats(
    con: duckdb.DuckDBPyConnection, values: dict[str, Any], vantages: Sequence[Vantage]
) -> tuple[bool | None, ...]:
    """Whether each vantage was heard in the window; foreign rows have no heartbeats to miss."""
    if values["scenario"] is not None:
        return (None,) * len(vantages)
    heard = dict(ask(con, "heartbeats", values))
    return tuple(heard.get(one.name) for one in vantages)
